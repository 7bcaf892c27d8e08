"""Runs one program of the cluster: its log, its readiness, its death with ours; knows no Kubernetes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tests.cluster.errors import ComponentError

# Between this process and the program: it asks the kernel to end the program when we end (Linux only), and
# looks again whether we live, since we may have died before it asked. It execs, so it costs no process.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
_TAIL_LINES = 20


class Running(Protocol):
    """What is needed of a subprocess."""

    pid: int
    returncode: int | Any | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...
    def kill(self) -> None: ...


class Process:
    """A program that is started, killed and started again under one name and one log file.

    It dies with the thread that started it (a property of the kernel's parent-death signal), so start it
    from a thread that lives as long as the cluster.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._ready = ready
        self._environment = dict(environment or {})
        self._running: Running | None = None

    @property
    def pid(self) -> int:
        """The process id; ComponentError when it is not running."""
        if self._running is None or self._running.poll() is not None:
            raise ComponentError(f"{self.name} is not running")
        return self._running.pid

    @property
    def alive(self) -> bool:
        """Whether the program is running, ready or not."""
        return self._running is not None and self._running.poll() is None

    def start(self, timeout: float = 60) -> None:
        """Start the program and wait until it is ready.

        Raises:
            ComponentError: it died or was not ready in time; carries the end of its log.
        """
        self.launch()
        self.wait_ready(timeout)

    def launch(self) -> None:
        """Start the program without waiting."""
        if self.alive:
            raise ComponentError(f"{self.name} runs already")
        launcher = [sys.executable, "-S", "-E", "-c", _LAUNCHER, str(os.getpid())]
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                [*launcher, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment,
                start_new_session=True,  # a Ctrl-C is for us; we stop the parts in order
            )

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until the program says that it is ready; ComponentError as for `start`."""
        deadline = time.monotonic() + timeout
        while not self._ready():
            if not self.alive:
                code = self._running.returncode if self._running else "never started"
                raise ComponentError(f"{self.name} died ({code}); the end of {self.log}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ComponentError(
                    f"{self.name} was not ready after {timeout:.0f} s; the end of {self.log}:\n{self.tail()}"
                )
            time.sleep(0.05)

    def kill(self) -> None:
        """End the program as a crash would (SIGKILL); data stay, `start` brings it back."""
        self._end(signal.SIGKILL, patience=30)

    def stop(self, patience: float = 10) -> None:
        """End the program politely, and by force after `patience` seconds."""
        self._end(signal.SIGTERM, patience)

    def pause(self) -> None:
        """Freeze the program (SIGSTOP): connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen program go on."""
        os.kill(self.pid, signal.SIGCONT)

    def tail(self) -> str:
        """Return the last lines of the log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-_TAIL_LINES:])

    def _end(self, with_signal: signal.Signals, patience: float) -> None:
        if self._running is None:
            return
        if self.alive:
            self._running.send_signal(with_signal)
            self._running.send_signal(signal.SIGCONT)  # a frozen one takes no other signal
        try:
            self._running.wait(patience)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()
        self._running = None
