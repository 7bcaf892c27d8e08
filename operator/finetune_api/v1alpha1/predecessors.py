"""Which other jobs a job begins with, and whether such jobs wait for one another. Knows nothing of what they made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


def names_in(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the jobs that a spec, as it was written, begins with."""
    places = (spec.get("model"), (spec.get("checkpoint") or {}).get("from"))
    return tuple(place["job"]["name"] for place in places if place and "job" in place)


def circle(waits: Mapping[str, Sequence[str]], name: str) -> str | None:
    """What to say of a job that waits for itself by way of others (`waits`: job to those it waits for), or None."""
    ways, seen = [[name]], {name}
    for way in ways:
        for following in waits.get(way[-1], ()):
            if following == name:
                said = ", ".join(f"{one} for {other}" for one, other in zip(way, [*way[1:], name], strict=True))
                return f"the jobs wait for one another ({said}): delete one of them and name another job"
            if following not in seen:
                seen.add(following)
                ways.append([*way, following])
    return None
