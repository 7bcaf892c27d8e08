"""Signs of life of a rank: a counter in a file that rises with the work done, and is never driven by a clock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Heartbeat:
    """The rank's side: call it with whatever was done (steps, rows, bytes)."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        self._count = 0

    def __call__(self, done: int = 1) -> None:
        self._count += 1
        os.pwrite(self._file, self._count.to_bytes(8, "little"), 0)


def heartbeat_path(scratch: Path, rank: int) -> Path:
    return scratch / f"heartbeat-{rank}"


@contextmanager
def beat_while_moving(measure: Callable[[], int], heartbeat: Callable[[int], None]) -> Iterator[None]:
    """For a long call of a library: a thread looks every two seconds whether `measure` (an amount of data) has
    changed, and beats only then."""
    done = threading.Event()

    def watch() -> None:
        last = 0
        while not done.wait(2.0):
            try:
                moved = measure()
            except OSError:
                continue
            if moved != last:
                heartbeat(moved - last)
                last = moved

    watcher = threading.Thread(target=watch, name="beat", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def data_moved() -> int:
    """MiB that this process has read and written, from files, maps and sockets; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    fields = dict(line.split(": ") for line in lines)
    # Looking reads a hundred bytes itself: counted in MiB, that is no movement.
    return sum(int(fields[name]) >> 20 for name in ("rchar", "wchar", "read_bytes"))


class HangWatch:
    """The supervisor's side: says when a rank has shown no sign of life for the limit (seconds)."""

    def __init__(self, paths: dict[int, Path], limit: float, now: float) -> None:
        self._paths = paths
        self._limit = limit
        self._seen: dict[int, tuple[bytes, float]] = dict.fromkeys(paths, (b"", now))

    def silent_ranks(self, now: float) -> list[int]:
        """The ranks that have been silent for longer than the limit. `now` is a monotonic time in seconds."""
        for rank, path in self._paths.items():
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                content = b""
            if content != self._seen[rank][0]:
                self._seen[rank] = (content, now)
        return [rank for rank, (_, since) in self._seen.items() if now - since > self._limit]
