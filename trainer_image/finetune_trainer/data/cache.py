"""Keeps prepared data in the run's cache directory, so that a node prepares once and resumed runs not at all.

A complete entry appears by one rename. Who prepares is settled by a file lock that ends with its process, not by a
collective operation: a long preparation cannot run into the time limit of one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

_META = "meta.json"
_WAIT_SECONDS = 0.2
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}

Waiting = Callable[[], contextlib.AbstractContextManager[None]]


def obtain(
    directory: Path,
    key: str,
    build: Callable[[Path], dict[str, Any]],
    *,
    run: int = 0,
    waiting: Waiting = contextlib.nullcontext,
) -> tuple[Path, dict[str, Any]]:
    """The directory of the entry `key` and its record; `build` fills it where it is not there yet.

    `build` gets an empty directory to write to and returns the record. Its errors pass through to the caller that ran
    it; a waiting process then tries itself and gets the same error. `waiting` is entered while another one works. Only
    processes of the same `run` wait for one another: a run that was cut off may hold its lock for ever.
    """
    entry = directory / key
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory / f"{key}.{run}.lock", lambda: (entry / _META).exists(), waiting):
        record = _record(entry)
        if record is None:
            record = _filled(directory, entry, build)
    return entry, record


def _record(entry: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((entry / _META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record


def _filled(directory: Path, entry: Path, build: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    workplace = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=directory))
    try:
        record = build(workplace)
        (workplace / _META).write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
        workplace.chmod(0o755)
        try:
            workplace.rename(entry)
        except OSError:
            # Another node without a common lock was faster, or an entry is damaged: what is complete wins.
            if _record(entry) is None:
                shutil.rmtree(entry, ignore_errors=True)
                workplace.rename(entry)
        return record
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


@contextlib.contextmanager
def _alone(lock: Path, ready: Callable[[], bool], waiting: Waiting) -> Iterator[None]:
    """Holds the lock, or goes on as soon as the entry is ready. A file system without locks lets everybody in."""
    with lock.open("w") as stream:
        if not ready() and not _locked(stream):
            with waiting():
                while not ready() and not _locked(stream):
                    time.sleep(_WAIT_SECONDS)
        yield


def _locked(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in _NO_LOCKS:
            return True
        raise
    return True


def file_identity(path: Path, small: int = 64 * 2**20) -> list[Any]:
    """What tells a file from a changed one without reading a large one: its digest, or size and time of change."""
    import xxhash

    status = os.stat(path)
    if status.st_size <= small:
        return [status.st_size, xxhash.xxh3_128_hexdigest(path.read_bytes())]
    return [status.st_size, status.st_mtime_ns]
