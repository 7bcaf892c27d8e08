"""Signs of life of a rank: a counter in a file that rises with the work done, and is never driven by a clock."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Count, whether the rank waits for others, bytes of the words that follow.
_HEADER = struct.Struct("<Q?B")
_LONGEST_WORDS = 255
# A supervisor that was itself stopped (a frozen container) must not take its own pause for that of the ranks.
_LONGEST_LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Sign:
    """What a rank last showed."""

    count: int = 0
    waiting: bool = False
    """It waits for other ranks, by its own word: its silence is theirs."""
    doing: str = "starting"


class Heartbeat:
    """The rank's side: call it with whatever was done (steps, rows, bytes)."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        self._count = 0
        self._doing = Sign.doing
        self._waiting = False
        self.stage = "Starting"
        self.in_loop = False
        """The training loop has begun: from now on steps are the signs of life."""

    def __call__(self, done: int = 1) -> None:
        self._count += 1
        self._write()

    def doing(self, stage: str, step: int) -> None:
        """Says what the rank does from now on; no sign of life by itself."""
        self.stage = stage
        self._doing = f"{stage}, step {step}" if step else stage
        self._write()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within, the rank waits for the others: only they can show signs of life."""
        self._waiting = True
        self._write()
        try:
            yield
        finally:
            # The others came: however long that took, it is a sign of life.
            self._waiting = False
            self()

    def _write(self) -> None:
        words = self._doing.encode()[:_LONGEST_WORDS]
        # Always of one length: once it is there, a full disk takes it as well.
        content = _HEADER.pack(self._count, self._waiting, len(words)) + words.ljust(_LONGEST_WORDS)
        os.pwrite(self._file, content, 0)


def heartbeat_path(scratch: Path, rank: int) -> Path:
    return scratch / f"heartbeat-{rank}"


def read_sign(path: Path) -> Sign:
    """What the rank last wrote; the first sign of all where it has not begun."""
    try:
        content = path.read_bytes()
        count, waiting, length = _HEADER.unpack_from(content)
    except (OSError, struct.error):
        return Sign()
    return Sign(count, waiting, content[_HEADER.size : _HEADER.size + length].decode("utf-8", "replace"))


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


@dataclass(frozen=True)
class Silence:
    """How long a rank has shown no sign of life, and what it showed last."""

    rank: int
    seconds: float
    sign: Sign


class HangWatch:
    """The supervisor's side: for how long each rank has been silent."""

    def __init__(self, paths: dict[int, Path], now: float) -> None:
        self._paths = paths
        self._looked = now
        self._seen = {rank: Silence(rank, 0.0, Sign()) for rank in paths}

    def silences(self, now: float) -> list[Silence]:
        """The silence of each rank. `now` is a monotonic time in seconds; it is to be called often."""
        passed = min(now - self._looked, _LONGEST_LOOK_SECONDS)
        self._looked = now
        for rank, path in self._paths.items():
            before, sign = self._seen[rank], read_sign(path)
            seconds = before.seconds + passed if sign.count == before.sign.count else 0.0
            self._seen[rank] = Silence(rank, seconds, sign)
        return list(self._seen.values())
