"""The process of one pod: started, watched, told to end, and never left behind; knows no objects."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

_SET_PARENT_DEATH_SIGNAL = 1  # prctl(2), PR_SET_PDEATHSIG


class PodProcess:
    """A supervisor and everything that it started, in a session of their own: the terminal's Ctrl-C is not theirs."""

    def __init__(self, process: subprocess.Popen[bytes], wait: asyncio.Future[int]) -> None:
        self._process = process
        self._wait = wait

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        log: Path,
        keep_open: Sequence[int],
    ) -> PodProcess:
        """Starts the command with its output in `log`. `keep_open` are file descriptors that it holds while it lives.

        Popen and not asyncio's: the parent-death signal is sent when the starting *thread* ends, and this is the
        main thread for certain. Raises OSError.
        """
        with log.open("ab") as output:
            process = subprocess.Popen(
                list(command),
                env=dict(environment),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=tuple(keep_open),
                preexec_fn=_end_with_parent(),
            )
        loop = asyncio.get_running_loop()
        return cls(process, loop.run_in_executor(None, process.wait))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """The exit code as a container runtime tells it: 128 + signal for one that was killed."""
        code = await asyncio.shield(self._wait)
        return 128 - code if code < 0 else code

    async def end(self, grace_seconds: float) -> None:
        """SIGTERM, and SIGKILL to everything that is left when the grace is over."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._wait), grace_seconds)
        self.kill()
        await asyncio.shield(self._wait)

    def kill(self) -> None:
        """SIGKILL to the process and all its descendants."""
        for pid in [*_descendants(self.pid), *([self.pid] if self._process.returncode is None else [])]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _end_with_parent() -> Callable[[], None] | None:
    """For the child between fork and exec: get SIGTERM when the parent dies, however it dies (Linux only).

    SIGTERM and not SIGKILL: the trainer still saves a checkpoint. Its supervisor ends the ranks in the same way.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def arm() -> None:
        prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return arm


def _descendants(pid: int) -> Iterator[int]:
    """Children first seen, then theirs; empty where there is no /proc."""
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in listing.read_text().split():
                yield from _descendants(int(child))
                yield int(child)
