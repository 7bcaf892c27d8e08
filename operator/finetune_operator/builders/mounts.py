"""Which volumes an attempt's pods mount, and where: what operator and trainer must agree on about the file system."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetune_api.trainer_contract import Mounts

from .attempt import Attempt

OUTPUT = "/finetune/output"
CLAIMS = "/finetune/claims"
CONFIG_MAPS = "/finetune/config-maps"
JOBS = "/finetune/jobs"
HOME = "/home/finetune"
_RESULTS = "results"


def for_trainer(attempt: Attempt) -> Mounts:
    """Where the trainer finds things."""
    return Mounts(
        output=OUTPUT,
        claims={name: f"{CLAIMS}/{name}" for name in _claims(attempt)},
        config_maps={name: f"{CONFIG_MAPS}/{name}" for name in config_maps(attempt.document)},
        jobs={job.name: f"{JOBS}/{job.name}" for job in attempt.jobs},
    )


def volumes(attempt: Attempt) -> list[dict[str, Any]]:
    """The pod's volumes. One claim is one volume, also where it is both read from and written to."""
    document = attempt.document
    shared_memory: dict[str, Any] = {"medium": "Memory"}
    if attempt.compute.shared_memory:
        shared_memory["sizeLimit"] = attempt.compute.shared_memory
    made: list[dict[str, Any]] = [
        {"name": _RESULTS, "persistentVolumeClaim": {"claimName": attempt.claim}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "home", "emptyDir": {}},
        {"name": "shared-memory", "emptyDir": shared_memory},
    ]
    for name, volume in _volume_names(attempt).items():
        if name != attempt.claim:
            made.append({"name": volume, "persistentVolumeClaim": {"claimName": name, "readOnly": True}})
    for number, name in enumerate(config_maps(document)):
        made.append({"name": f"config-map-{number}", "configMap": {"name": name}})
    return made


def volume_mounts(attempt: Attempt) -> list[dict[str, Any]]:
    """The container's mounts: results writable below the job's own directory, inputs read-only."""
    document = attempt.document
    made: list[dict[str, Any]] = [
        {"name": _RESULTS, "mountPath": OUTPUT, "subPath": attempt.name},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "home", "mountPath": HOME},
        {"name": "shared-memory", "mountPath": "/dev/shm"},
    ]
    volume_of = _volume_names(attempt)
    for name in _claims(attempt):
        made.append({"name": volume_of[name], "mountPath": f"{CLAIMS}/{name}", "readOnly": True})
    for job in attempt.jobs:
        place = {"mountPath": f"{JOBS}/{job.name}", "subPath": job.path, "readOnly": True}
        made.append({"name": volume_of[job.claim], **place})
    for number, name in enumerate(config_maps(document)):
        made.append({"name": f"config-map-{number}", "mountPath": f"{CONFIG_MAPS}/{name}", "readOnly": True})
    return made


def _claims(attempt: Attempt) -> list[str]:
    """The claims that are mounted as a whole: those of the spec, and those of the models beneath adapters."""
    return sorted({*claims(attempt.document), *(name for job in attempt.jobs for name in job.claims or ())})


def _volume_names(attempt: Attempt) -> dict[str, str]:
    """The volume of each claim that is read from."""
    read = sorted({*_claims(attempt), *(job.claim for job in attempt.jobs)})
    return {name: _RESULTS if name == attempt.claim else f"claim-{number}" for number, name in enumerate(read)}


def claims(document: dict[str, Any]) -> list[str]:
    """The claims that a spec reads from, each once; not the one for results."""
    inputs = {block: value for block, value in document.items() if block != "storage"}
    return sorted({claim["name"] for claim in _under("claim", inputs)})


def config_maps(document: dict[str, Any]) -> list[str]:
    """The ConfigMaps that a spec reads from, each once."""
    return sorted({reference["name"] for reference in _under("configMap", document)})


def _under(key: str, value: Any) -> Iterator[dict[str, Any]]:
    """Every object that stands under a key, at any depth."""
    if isinstance(value, list):
        for item in value:
            yield from _under(key, item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name == "podTemplate":
                continue  # free-form parts are not ours to read
            if name == key and isinstance(item, dict) and "name" in item:
                yield item
            else:
                yield from _under(key, item)
