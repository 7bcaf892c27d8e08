"""One rank's files of a checkpoint on their way to the volume: held in memory where there is room, so that training
need not wait for the disk. Knows nothing of manifests."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import xxhash

from finetune_api.trainer_contract import ManifestFile

from .checkpoints import sealed
from .disk import beat_while_written, sync_descriptor
from .files import let_group_read
from .memory import available_bytes

MEMORY = Path("/dev/shm")
_PREFIX = "finetune-checkpoint-"
# The rest is for what training needs next, which nobody knows.
_SHARE_OF_FREE = 0.5
_CHUNK = 8 * 1024 * 1024


@dataclass
class Part:
    """The files, written by the libraries and not yet in their place."""

    files: list[tuple[str, IO[bytes]]]
    """In memory: by their names relative to the checkpoint. They have no other name, and end with the process."""
    directory: Path | None = None
    """On the volume, where memory had no room for them."""

    def bring(self, place: Path, heartbeat: Callable[[int], None]) -> list[ManifestFile]:
        """Puts the files into `place`, durably. Raises OSError."""
        place.mkdir(exist_ok=True)
        if self.directory is not None:
            files = sealed(self.directory, heartbeat)
            for file in files:
                (place / file.path).parent.mkdir(parents=True, exist_ok=True)
                os.rename(self.directory / file.path, place / file.path)
            shutil.rmtree(self.directory, ignore_errors=True)
            return files
        brought = []
        while self.files:
            name, source = self.files.pop(0)
            with source:
                brought.append(_copy(name, source, place / name, heartbeat))
        return brought

    def drop(self) -> None:
        """Gives memory and disk back."""
        for _, file in self.files:
            file.close()
        self.files.clear()
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)


def room() -> int:
    """Bytes that may be held in memory for a checkpoint; 0 where there is no file system in memory."""
    try:
        free = os.statvfs(MEMORY)
    except OSError:
        return 0
    return int(min(free.f_bavail * free.f_frsize, available_bytes()) * _SHARE_OF_FREE)


def write_in_memory(
    name: str, write_files: Callable[[Path], None], heartbeat: Callable[[int], None] = lambda _: None
) -> Part:
    """Has the files written to memory. Raises what `write_files` raises, and leaves nothing then."""
    directory = MEMORY / f"{_PREFIX}{name}"
    directory.mkdir(mode=0o700)
    part = Part([])
    # Held as long as this process lives: what nobody holds is left over.
    held = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with beat_while_written(directory, heartbeat):
            write_files(directory)
        for file in sorted(file for file in directory.rglob("*") if file.is_file()):
            part.files.append((file.relative_to(directory).as_posix(), file.open("rb")))
    except BaseException:
        part.drop()
        raise
    finally:
        # Open files stay; whatever becomes of this process, the memory comes back.
        shutil.rmtree(directory, ignore_errors=True)
        os.close(held)
    return part


def clear() -> None:
    """Removes what processes left that were killed while they wrote to memory."""
    for left in MEMORY.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # gone meanwhile, held, or another user's
            held = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(held)


def _copy(name: str, source: IO[bytes], target: Path, heartbeat: Callable[[int], None]) -> ManifestFile:
    """Copies and digests in one pass."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = xxhash.xxh3_128(), 0
    with target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            heartbeat(len(chunk))
        file.flush()
        sync_descriptor(file.fileno(), heartbeat)
    let_group_read(target)
    return ManifestFile(path=name, bytes=size, xxh3=digest.hexdigest())
