"""Finds releases of other projects that somebody has at hand; fetches and builds none."""

import os
from pathlib import Path

from tests.cluster.errors import MissingToolError


def release(variable: str, files: tuple[str, ...], whence: str) -> Path | None:
    """The directory that a variable names, with the files of one release; None when it is not set.

    Raises:
        MissingToolError: The variable is set and files are missing; `whence` says where they come from.
    """
    given = os.environ.get(variable)
    if not given:
        return None
    directory = Path(given)
    missing = [name for name in files if not (directory / name).exists()]
    if missing:
        raise MissingToolError(f"{variable}={given} holds no {' and no '.join(missing)}: put {whence}, or unset it")
    return directory
