"""One run at a time on the results of a job, also while the trainer of a killed run still saves."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import CannotStartError


class RunLock:
    """An flock that the trainers inherit: it is free when the run and every trainer that it started are gone."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def take(self, say: Callable[[str], None], patience_seconds: float = 600.0) -> None:
        """Takes the lock; waits for the trainer of a run that was killed. Raises CannotStartError for a living run."""
        deadline, told = time.monotonic() + patience_seconds, False
        while not self._try():
            holder = self._said()
            if holder is not None and _is_alive(holder):
                raise CannotStartError(
                    f"process {holder} runs this job on the same --output: wait for it or end it first"
                )
            if time.monotonic() > deadline:
                raise CannotStartError("the trainer of an earlier run does not end: find its process and kill it")
            if not told:
                say("the trainer of an earlier run still saves its checkpoint; waiting for it")
                told = True
            time.sleep(0.2)
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, str(os.getpid()).encode(), 0)

    def holder(self) -> int | None:
        """The living run that holds the lock; None where there is none, or only the trainer of a killed one."""
        if self._try():
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
            return None
        holder = self._said()
        return holder if holder is not None and _is_alive(holder) else None

    def release(self) -> None:
        os.close(self.descriptor)

    def _try(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _said(self) -> int | None:
        text = os.pread(self.descriptor, 32, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
