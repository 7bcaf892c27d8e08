"""Signs of life of a rank: a counter in a file that rises with the work done, and is never driven by a clock."""

from __future__ import annotations

import os
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
