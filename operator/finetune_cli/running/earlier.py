"""What earlier runs into the same --output left for a job that begins with their results; starts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune_api.v1alpha1.predecessors import references
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_operator import names
from finetune_operator.kube.local import Directories
from finetune_operator.kube.local.store import load, save

from .lock import RunLock

_REMEMBERED = "directories.json"


def remember(places: Directories, job: str) -> None:
    """Keeps which directories a run was given, for the jobs that begin with its results."""
    claims = {name: str(directory) for name, directory in places.claims.items()}
    save(places.state(job) / _REMEMBERED, {"claims": claims})


def recalled(spec: FineTuneJobSpec, output: Path) -> dict[str, Path]:
    """The directories of the claims that the jobs before this one left their results on, and read their models from."""
    places = Directories(output.absolute())
    found: dict[str, Path] = {}
    open_names, seen = [reference.name for reference in references(spec)], set[str]()
    while open_names:
        name = open_names.pop()
        document = load(places.state(name) / "job.json")
        if name in seen or document is None:
            continue
        seen.add(name)
        given = (load(places.state(name) / _REMEMBERED) or {}).get("claims", {})
        of_job = Directories(places.output, {claim: Path(directory) for claim, directory in given.items()})
        model: dict[str, Any] = document["spec"].get("model") or {}
        for claim in (_results(document), (model.get("claim") or {}).get("name")):
            if claim is not None:
                found.setdefault(claim, of_job.claim(claim))
        open_names += [model["job"]["name"]] if "job" in model else []
    return found


def run_lives(spec: FineTuneJobSpec, places: Directories) -> bool:
    """Whether one of the jobs that this one begins with is being run by another process now."""
    return any(_is_held(places.state(reference.name)) for reference in references(spec))


def _is_held(state: Path) -> bool:
    if not state.is_dir():
        return False
    lock = RunLock(state / "lock")
    try:
        return lock.holder() is not None
    finally:
        lock.release()


def _results(document: dict[str, Any]) -> str:
    claim = (document["spec"].get("storage") or {}).get("claim") or {}
    return str(claim.get("name") or names.claim_name(document["metadata"]["name"]))
