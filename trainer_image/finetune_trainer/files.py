"""Writing files so that a reader sees the old content or the new. Knows nothing of what is in them."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def write_atomically(path: Path, text: str, *, durable: bool = False) -> None:
    """Replaces the file by rename; with `durable` it also survives a power cut. Raises OSError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def let_group_read(file: Path) -> None:
    """safetensors writes for its own user alone; the next pod on the volume shares but the group."""
    with contextlib.suppress(OSError):  # a file system without modes has none to mend
        file.chmod(file.stat().st_mode | stat.S_IRGRP)


def sync_directory(path: Path) -> None:
    """Waits until the names in the directory are on the disk; file systems that cannot do so are let be."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def size_of(directory: Path) -> int:
    """Bytes of all files below the directory."""
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
