"""Which other jobs a job begins with, and whether such jobs wait for one another. Knows nothing of what they made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .spec import FineTuneJobSpec


@dataclass(frozen=True)
class Reference:
    """A place in a spec that names another job."""

    field: str
    name: str
    step: int | None = None
    whole: bool = True
    """The job's output is wanted, and so its success; else one of its checkpoints."""


def references(spec: FineTuneJobSpec) -> tuple[Reference, ...]:
    """The jobs whose results a job begins with."""
    found = []
    if spec.model.job is not None:
        found.append(Reference("spec.model.job", spec.model.job.name))
    start = spec.checkpoint.from_ if spec.checkpoint else None
    if start is not None and start.job is not None:
        found.append(Reference("spec.checkpoint.from.job", start.job.name, start.step, whole=False))
    return tuple(found)


def circle(waits: Mapping[str, str], name: str) -> str | None:
    """What to say of a job that waits for itself by way of others (`waits`: job to the one it waits for), or None."""
    way = [name]
    while (following := waits.get(way[-1])) is not None:
        if following == name:
            said = ", ".join(f"{one} for {other}" for one, other in zip(way, [*way[1:], name], strict=True))
            return f"the jobs wait for one another ({said}): delete one of them and name another model"
        if following in way:
            return None
        way.append(following)
    return None
