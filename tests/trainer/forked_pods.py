"""What the processes of a pod do after their fork: a real supervisor, which forks its ranks; nothing of it returns."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

FOR_EVER = 1_000_000.0
"""Seconds: a timeout that no test would live to see."""


def supervise(
    log: Path, environment: Mapping[str, str], hang_seconds: Callable[[], float], before: Callable[[int], None]
) -> None:
    """What process 1 does, in a fork; never returns. Every timeout is set so far away that only events can end it."""
    code = 70
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        os.environ |= environment
        logging.getLogger().handlers.clear()
        tempfile.tempdir = None
        from finetune_trainer import activity, gang, ranks, supervisor, watch

        watch.SECONDS_FOR_THE_OTHERS = FOR_EVER
        gang.SECONDS_TO_RETURN = FOR_EVER
        activity.INTERVAL_SECONDS = 0.5
        ranks.begin = lambda environment, errors: begin(environment, errors, before)
        supervisor._termination.listen()
        code = supervisor.main(hang_seconds)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def begin(environment: Mapping[str, str], errors: int, before: Callable[[int], None]) -> int:
    """Starts a rank as `ranks.begin` does, by a fork."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(errors, 2)
        os.environ |= environment
        from finetune_trainer import worker

        worker._interruption.listen()
        before(int(environment.get("RANK", "0")))
        code = worker.main()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
