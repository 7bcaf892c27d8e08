"""Names of jobs for the shell's completion: quick, and silent where there is nothing to be had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from ..errors import CliError
from .command import Place


def names(options: Mapping[str, Any], incomplete: str) -> list[str]:
    """The jobs of the place that the options name so far, whose names begin so."""
    place = Place(options.get("namespace"), options.get("context"), options.get("output"))
    try:
        found = place.jobs().names()
    except (CliError, typer.BadParameter):
        return []
    return sorted(name for name in found if name.startswith(incomplete))
