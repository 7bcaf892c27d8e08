"""Bringing what was written to the disk piece by piece: each piece that is there is a sign of life, a clock never is.

One call of fsync for a large file on a slow volume is silent for as long as it takes; a write that is stuck looks the
same. What the files are is others' business.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PIECE_BYTES = 8 * 1024 * 1024
_SECONDS_BETWEEN_LOOKS = 2.0
# linux/fs.h: wait for what is on its way, begin to write, wait for that.
_SYNC_FILE_RANGE_ALL = 1 | 2 | 4
# The kernel, the sandbox or the file system does not know the call: fsync does it all.
_NOT_KNOWN = (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.ESPIPE, errno.EOPNOTSUPP)

Heartbeat = Callable[[int], None]
"""Called with the bytes that have come to the disk."""


def sync_file(path: Path, heartbeat: Heartbeat = lambda _: None) -> None:
    """Waits until the file's content is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync_descriptor(descriptor, heartbeat)
    finally:
        os.close(descriptor)


def sync_descriptor(descriptor: int, heartbeat: Heartbeat) -> None:
    """Waits until the content of an open file is on the disk. Raises OSError."""
    for _, length in _brought(descriptor, 0):
        heartbeat(length)
    os.fsync(descriptor)
    heartbeat(1)


@contextmanager
def beat_while_written(directory: Path, heartbeat: Heartbeat) -> Iterator[None]:
    """For a library that writes files below the directory: a thread brings them to the disk meanwhile.

    It beats for pieces that have come there, and where the system knows no pieces, for those that were written. Raises
    OSError at the end where the disk has refused one: the kernel says so only once.
    """
    written = _Written(directory, heartbeat)
    watcher = threading.Thread(target=written.follow, name="written", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        written.done.set()
        watcher.join()
    if written.error is not None:
        raise written.error


class _Written:
    """The files of a directory, and how much of each has come to the disk."""

    def __init__(self, directory: Path, heartbeat: Heartbeat) -> None:
        self._directory = directory
        self._heartbeat = heartbeat
        self._ends: dict[Path, int] = {}
        self.done = threading.Event()
        self.error: OSError | None = None

    def follow(self) -> None:
        while self.error is None and not self.done.wait(_SECONDS_BETWEEN_LOOKS):
            for file in self._files():
                self._bring(file)

    def _files(self) -> list[Path]:
        try:
            return [file for file in self._directory.rglob("*") if file.is_file()]
        except OSError:
            return []  # changed under our eyes

    def _bring(self, file: Path) -> None:
        try:
            descriptor = os.open(file, os.O_RDONLY)
        except OSError:
            return  # it has another name by now
        try:
            for end, length in _brought(descriptor, self._ends.get(file, 0)):
                self._ends[file] = end
                self._heartbeat(length)
                if self.done.is_set():
                    return  # the rest is for whoever syncs the file
        except OSError as error:
            self.error = error
        finally:
            os.close(descriptor)


def _brought(descriptor: int, begin: int) -> Iterator[tuple[int, int]]:
    """Brings what lies behind `begin` to the disk: the end and the length of each piece once it is there. Raises
    OSError."""
    size = os.fstat(descriptor).st_size
    while begin < size:
        length = min(PIECE_BYTES, size - begin)
        bring_piece(descriptor, begin, length)
        begin += length
        yield begin, length


def bring_piece(descriptor: int, offset: int, length: int) -> None:
    """Waits until a piece of an open file is on the disk, where the system knows such a thing. Raises OSError."""
    if _sync_file_range is None:
        return
    if _sync_file_range(descriptor, offset, length, _SYNC_FILE_RANGE_ALL) != 0:
        number = ctypes.get_errno()
        if number not in _NOT_KNOWN:
            raise OSError(number, os.strerror(number))


def _function_of_the_system() -> Callable[[int, int, int, int], int] | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
    if function is None:  # only Linux has it
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int

    def call(descriptor: int, offset: int, length: int, flags: int) -> int:
        result: int = function(descriptor, offset, length, flags)
        return result

    return call


_sync_file_range = _function_of_the_system()
