"""Operators forked from one process that has loaded the libraries; from the fork on each is a process of its own.

Loading takes longer than anything else that an operator does at its start, and the sweeps start a hundred of them.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

# As in the operator's image: kopf loads the official client where it finds one, which doubles the time of a start.
_SERVER = "import sys; sys.modules['kubernetes'] = None; from tests.integration.warm_operators import serve; serve()"
_PARENT_DEATH_SIGNAL = 1


class Forked:
    """A forked operator, with what Process needs of a subprocess."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        """-1 where it has ended: how, only its log says."""
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
        except psutil.NoSuchProcess:
            self._process = None

    def poll(self) -> int | None:
        if self._process is None or not self._process.is_running():
            self.returncode = -1
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self._process is not None and self.poll() is None:
            try:
                self._process.send_signal(number)
            except psutil.NoSuchProcess:
                self._process = None

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout if timeout is not None else 3600)
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("operator", timeout or 0)
            time.sleep(0.02)
        return -1


class WarmOperators:
    """The process that forks."""

    def __init__(self, server: subprocess.Popen[bytes]) -> None:
        self._server = server
        self._lock = threading.Lock()

    @classmethod
    @contextmanager
    def ready(cls) -> Iterator[WarmOperators]:
        """Runs until the end of the block; what it forked ends with it."""
        command = [sys.executable, "-c", _SERVER]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        ) as server:
            try:
                yield cls(server)
            finally:
                server.kill()

    def fork(self, environment: Mapping[str, str], log: Path) -> Forked:
        """Starts an operator with these variables beside those of the tests; it writes to the log."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        order = json.dumps({"environment": dict(environment), "log": str(log)})
        with self._lock:
            self._server.stdin.write(order.encode() + b"\n")
            self._server.stdin.flush()
            return Forked(int(self._server.stdout.readline()))


def serve() -> None:
    """Loads the operator, then forks one for each line of its input, until that ends."""
    import finetune_operator.__main__  # noqa: F401  # loaded once, for all of them

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    server = os.getpid()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _operate(server, **json.loads(line))
        print(pid, flush=True)
    os._exit(0)


def _operate(server: int, environment: dict[str, str], log: str) -> None:
    """In the fork: never returns."""
    code = 1
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != server:
            os._exit(1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
            os.dup2(file, number)
        os.environ |= environment
        from finetune_operator.__main__ import main

        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
