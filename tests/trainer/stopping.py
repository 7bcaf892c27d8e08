"""Stops a process with SIGSTOP right before a chosen change to the file system; used in forked ranks.

Python's audit events name each change before it is made. What libraries write without Python (safetensors, torch) goes
into directories of the writer's own, and shows as the directories that are made for it.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def stop_before(point: str | None, root: Path, listing: Path) -> Callable[[], None]:
    """For `Ranks(before=...)`: stops the process before the first change of this name below `root`, and lists the names
    of all changes, one a line."""

    def install() -> None:
        log = os.open(listing, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        waiting = [point]

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            name = _name(event, arguments, str(root))
            if name is None:
                return
            os.write(log, f"{name}\n".encode())
            if name == waiting[0]:
                waiting[0] = None
                os.kill(os.getpid(), signal.SIGSTOP)

        sys.addaudithook(hook)

    return install


def _name(event: str, arguments: tuple[Any, ...], root: str) -> str | None:
    if event == "open":
        path, _, flags = arguments
        # os.open with a directory's descriptor (as rmtree does) gives a name without a directory.
        paths = [path] if isinstance(flags, int) and flags & _WRITING else []
    elif event == "os.rename":
        paths = list(arguments[:2])
    elif event in ("os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.chmod", "os.truncate"):
        paths = [arguments[0]]
    else:
        return None
    texts = [os.fspath(path) for path in paths if isinstance(path, str | os.PathLike)]
    texts = [text if isinstance(text, str) else os.fsdecode(text) for text in texts]
    if not any(text.startswith(root) for text in texts):
        return None
    return " ".join([event, *(_kind_of_name(text.removeprefix(root).lstrip("/")) for text in texts)])


def _kind_of_name(path: str) -> str:
    """Without what differs from run to run: the eight characters that tempfile draws; numbers of steps, runs and
    processes."""
    return re.sub(r"\d+", "N", re.sub(r"-[a-z0-9_]{8}(?=/|$)", "-drawn", path))
