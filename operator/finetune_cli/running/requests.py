"""How another process asks something of a run: a small file beside the job's state; knows no meaning of it."""

from __future__ import annotations

import json
import os
from pathlib import Path


def path(state: Path) -> Path:
    """The file of the job whose state directory this is."""
    return state / "request.json"


def put(state: Path, spec: dict[str, bool]) -> None:
    """Leaves fields of the spec for the run, whole or not at all; a newer request takes the place of an older one."""
    draft = path(state).with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(spec), encoding="utf-8")
    os.replace(draft, path(state))


def take(state: Path) -> dict[str, bool] | None:
    """The request that waits, and takes it away; None where there is none, or none that can be read."""
    taken = path(state).with_suffix(".taken")
    try:
        os.replace(path(state), taken)
        found = json.loads(taken.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    return {name: bool(found[name]) for name in ("suspend", "cancel") if name in found}


def is_waiting(state: Path) -> bool:
    """Whether a request was not taken yet."""
    return path(state).exists()
