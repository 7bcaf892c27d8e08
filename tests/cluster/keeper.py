"""Keeps a cluster up behind a developer's terminal, and brings it down again; starts no component itself."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

import psutil

from tests.cluster.errors import ClusterError


def up(directory: Path, arguments: list[str], timeout: float) -> None:
    """Start `python -m tests.cluster keep ...` in the background and wait until its cluster is ready.

    Args:
        directory: the cluster's; one cluster a directory.
        arguments: of the `keep` command.
        timeout: seconds that the cluster may take.

    Raises:
        ClusterError: a cluster is up there already, or it did not come up; carries the end of the log.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if _keeper(directory):
        raise ClusterError(f"a cluster is up in {directory}: run `down` first, or choose another --dir")
    _ready_file(directory).unlink(missing_ok=True)
    log = directory / "keeper.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster", "keep", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    _pid_file(directory).write_text(f"{process.pid} {psutil.Process(process.pid).create_time()}")
    deadline = time.monotonic() + timeout
    while not _ready_file(directory).exists():
        if process.poll() is not None or time.monotonic() > deadline:
            down(directory)
            said = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
            raise ClusterError(f"the cluster did not come up; the end of {log}:\n{said}")
        time.sleep(0.1)


def keep(directory: Path, cluster: AbstractContextManager[object]) -> None:
    """Hold the cluster up in this process until it is told to end."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    with cluster:
        _ready_file(directory).write_text(str(os.getpid()))
        told.wait()
    _ready_file(directory).unlink(missing_ok=True)


def down(directory: Path, patience: float = 60) -> bool:
    """End the cluster of a directory; return whether there was one."""
    keeper = _keeper(directory)
    if keeper:
        keeper.terminate()
        try:
            keeper.wait(patience)
        except psutil.TimeoutExpired:
            keeper.kill()  # its components die with it
            keeper.wait(10)
    for file in (_pid_file(directory), _ready_file(directory)):
        file.unlink(missing_ok=True)
    return keeper is not None


def _keeper(directory: Path) -> psutil.Process | None:
    """Return the live keeper; a process that only has its number is not taken for it."""
    with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
        pid, started = _pid_file(directory).read_text().split()
        process = psutil.Process(int(pid))
        if process.create_time() == float(started) and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def _pid_file(directory: Path) -> Path:
    return directory / "keeper.pid"


def _ready_file(directory: Path) -> Path:
    return directory / "ready"
