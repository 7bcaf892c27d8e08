"""Locks between processes, held by an open file so that they end with their holder; protects no threads."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.errors import ClusterError


@contextmanager
def locked(path: Path, busy: str | None = None) -> Iterator[None]:
    """Hold the lock that the file `path` stands for.

    Args:
        path: of the file, made if missing.
        busy: the message of a ClusterError when another process holds it; None waits instead.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            raise ClusterError(busy) from error
        yield
