"""One rank of an attempt: runs the recipe of the method and leaves a record of how it ended.

The supervisor starts it; `torchrun -m finetune_trainer.worker` does as well. Heavy imports wait until SIGTERM is heard.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from .interruption import Interruption

_interruption = Interruption()
if __name__ == "__main__":
    _interruption.listen()

# After the handler, so that a SIGTERM of the first second already ends as Interrupted.
from finetune_api.trainer_contract import EndKind, ExitCode, TrainerConfig  # noqa: E402

from .activity import watch_work  # noqa: E402
from .environment import RUN_VARIABLE, SCRATCH_VARIABLE, SUPERVISOR_VARIABLE, read_config  # noqa: E402
from .failures import record_of  # noqa: E402
from .fencing import RunClaim  # noqa: E402
from .heartbeats import Heartbeat, heartbeat_path  # noqa: E402
from .rank import Rank  # noqa: E402
from .ranks import STACK_SIGNAL  # noqa: E402
from .records import RankRecord, now, stacks_path  # noqa: E402
from .results import Results  # noqa: E402

logger = logging.getLogger("finetune_trainer")

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Runs this rank; returns the exit code of its kind of end."""
    number = int(os.environ.get("RANK", "0"))
    scratch = Path(os.environ.get(SCRATCH_VARIABLE) or tempfile.mkdtemp(prefix="finetune-"))
    _end_with_parent()
    _log(number)
    stacks = stacks_path(scratch, number).open("w", encoding="utf-8")
    faulthandler.register(STACK_SIGNAL, file=stacks, all_threads=True)
    faulthandler.enable()
    heartbeat = Heartbeat(heartbeat_path(scratch, number))
    watch_work(heartbeat)
    record = RankRecord(rank=number, kind=EndKind.FINISHED, ended_at=0)
    try:
        _interruption.caught()
        config = read_config()
        rank = Rank(
            config=config,
            number=number,
            local_number=int(os.environ.get("LOCAL_RANK", "0")),
            world_size=int(os.environ.get("WORLD_SIZE", "1")),
            run=_run_number(config, number),
            scratch=scratch,
            heartbeat=heartbeat,
            interruption=_interruption,
        )
        from .recipes import recipe_for

        record.details = recipe_for(rank.config)(rank)
    except BaseException as error:
        record = record_of(error, number)
        if record.kind in (EndKind.INTERNAL_ERROR, EndKind.DEVICE_OUT_OF_MEMORY, EndKind.HOST_OUT_OF_MEMORY):
            logger.error("Rank %d failed\n%s", number, traceback.format_exc())
    record.ended_at = now()
    record.write(scratch)
    return int(ExitCode.of(record.kind))


def _run_number(config: TrainerConfig, rank: int) -> int:
    """The number that the supervisor has claimed; started by torchrun, rank 0 claims one itself."""
    if RUN_VARIABLE in os.environ:
        return int(os.environ[RUN_VARIABLE])
    if rank > 0:
        return 0
    results = Results.of(config)
    results.create()
    return RunClaim.take(results, config).number


def _end_with_parent() -> None:
    """A rank must not go on training beside the next attempt when its supervisor was killed."""
    if sys.platform == "linux" and SCRATCH_VARIABLE in os.environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have died before it was said that this matters.
    if os.getppid() != int(os.environ.get(SUPERVISOR_VARIABLE, os.getppid())):
        os.kill(os.getpid(), signal.SIGKILL)


def _log(number: int) -> None:
    logging.basicConfig(
        level=logging.INFO if number == 0 else logging.WARNING,
        format=f"%(asctime)s %(levelname)s rank {number}: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    logging.captureWarnings(True)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Tearing torch down takes seconds and can hang on a lost peer; everything is on the disk.
    os._exit(code)
