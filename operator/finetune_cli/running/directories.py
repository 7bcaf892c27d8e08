"""Which directories stand for the claims and ConfigMaps of a job; reads nothing in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from finetune_api.v1alpha1.predecessors import references
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_operator.builders import mounts
from finetune_operator.kube.local import Directories

from ..errors import CannotStartError
from .earlier import recalled


def directories(spec: FineTuneJobSpec, claims: Sequence[str], config_maps: Sequence[str], output: Path) -> Directories:
    """The directories of a resolved spec. Raises CannotStartError (missing), BadParameter (not used)."""
    document = spec.dump()
    given_claims, given_maps = _pairs(claims, "--claim"), _pairs(config_maps, "--config-map")
    own = document.get("storage", {}).get("claim", {}).get("name")
    _must_have_run(spec, output)
    wanted, earlier = set(mounts.claims(document)), recalled(spec, output)
    _only_used(given_claims, wanted | set(earlier) | ({own} if own else set()), "--claim")
    _only_used(given_maps, mounts.config_maps(document), "--config-map")
    missing = [
        *_missing("claim", "--claim", wanted - {own} if own not in given_claims else wanted, given_claims),
        *_missing("ConfigMap", "--config-map", mounts.config_maps(document), given_maps),
    ]
    if missing:
        raise CannotStartError("\n".join(missing))
    return Directories(output.absolute(), {**earlier, **given_claims}, given_maps)


def _must_have_run(spec: FineTuneJobSpec, output: Path) -> None:
    for reference in references(spec):
        if not (Directories(output.absolute()).state(reference.name) / "job.json").is_file():
            raise CannotStartError(
                f"{reference.field}: no run of job {reference.name} has left its results in {output}: run that job "
                "first, into the same --output"
            )


def _pairs(values: Iterable[str], option: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for value in values:
        name, equals, directory = value.partition("=")
        if not (name and equals and directory):
            raise typer.BadParameter(f"{value!r} is not NAME=DIR", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name} is given twice", param_hint=option)
        found[name] = Path(directory).expanduser().absolute()
    return found


def _only_used(given: Iterable[str], used: Iterable[str], option: str) -> None:
    for name in sorted(set(given) - set(used)):
        names = ", ".join(sorted(used)) or "none"
        raise typer.BadParameter(f"the job does not use {name}; it uses {names}", param_hint=option)


def _missing(what: str, option: str, wanted: Iterable[str], given: dict[str, Path]) -> list[str]:
    found = []
    for name in sorted(wanted):
        if name not in given:
            found.append(f"the job reads {what} {name} and no directory stands for it: add {option} {name}=DIR")
        elif not given[name].is_dir():
            found.append(f"{option} {name}: there is no directory {given[name]}")
    return found
