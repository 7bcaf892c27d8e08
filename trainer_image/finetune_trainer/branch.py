"""The checkpoint of another job that this one starts from: found, judged and copied. Never writes where it lies.

The copy is a checkpoint of this job's own, from which it continues as from any other: what becomes of the other job's
checkpoints does not matter any more.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from finetune_api.trainer_contract import TrainerConfig
from finetune_api.v1alpha1.defaults import resolve
from finetune_api.v1alpha1.references import CheckpointReference
from finetune_api.v1alpha1.spec import FineTuneJobSpec

from . import checkpoints
from .checkpoints import Checkpoint
from .completion import read_metrics
from .data.places import inside, mount_of
from .disk import sync_file
from .errors import ConfigError
from .fencing import RunClaim
from .files import let_group_read
from .results import Results

_FIELD = "checkpoint.from"
_CHUNK = 8 * 1024 * 1024
# What the weights and the optimizer of a checkpoint depend on; all else a branch may change.
_MUST_FIT = ("model", "tuning")
_CREDENTIALS = ("tokenSecret", "trustRemoteCode")


@dataclass(frozen=True)
class Origin:
    """Where a branch starts."""

    checkpoint: Checkpoint
    results: Results
    """Of the job that wrote it; where the checkpoint lies alone, nothing is in them."""
    said: str


def take_over(
    config: TrainerConfig, results: Results, claim: RunClaim, total_steps: int, heartbeat: Callable[[int], None]
) -> None:
    """Makes the checkpoint that the spec names this job's first one, unless it has one of its own; rank 0 only.

    Raises ConfigError with the checkpoints that exist, or with what does not fit; FencedOff, OSError.
    """
    wanted = config.spec.checkpoint.from_ if config.spec.checkpoint else None
    if wanted is None or checkpoints.complete(results.checkpoints):
        return
    origin = _find(wanted, config)
    step = origin.checkpoint.step
    if step >= total_steps:
        raise ConfigError(
            f"{_FIELD}: {origin.said} is of step {step}, and this job has {total_steps} steps in all.",
            "Raise hyperparameters.epochs or maxSteps: the steps count on from there.",
        )
    _check_fit(origin, config)
    made = claim.workspace / checkpoints.directory_name(step, claim.number)
    shutil.rmtree(made, ignore_errors=True)
    with claim.fenced():
        made.mkdir()
    for file in origin.checkpoint.manifest.files:
        if _copied(origin.checkpoint.path / file.path, made / file.path, claim, heartbeat) != file.xxh3:
            raise ConfigError(
                f"{_FIELD}: {origin.said} is torn: the content of {file.path} is not what was written.",
                f"Name another one. {_existing(origin.results)}",
            )
    _continue_the_curve(origin, results, claim)
    manifest = origin.checkpoint.manifest
    # Its metric was measured on the other job's rows: it says nothing about the best checkpoint of this one.
    checkpoints.commit(
        made, results.checkpoints / made.name, manifest.files, claim, step=step, world_size=manifest.world_size
    )


def _find(wanted: CheckpointReference, config: TrainerConfig) -> Origin:
    if wanted.claim is not None:
        path = wanted.claim.path or "."
        said = f"{path} on claim {wanted.claim.name}"
        directory = inside(mount_of(config.mounts.claims, wanted.claim.name, "claim"), path, said)
        return Origin(
            _opened(directory, said, Results(directory.parent.parent)), Results(directory.parent.parent), said
        )
    assert wanted.job is not None, "a reference is one of job and claim"
    name = wanted.job.name
    if name not in config.mounts.jobs:
        raise ConfigError(f"{_FIELD}: the results of job {name} are not mounted.")
    results = Results(Path(config.mounts.jobs[name]))
    there = checkpoints.complete(results.checkpoints)
    if wanted.step is None and there:
        return Origin(there[-1], results, f"the checkpoint of job {name}")
    said = f"the checkpoint of step {wanted.step} of job {name}" if wanted.step is not None else f"job {name}"
    found = [checkpoint for checkpoint in there if checkpoint.step == wanted.step]
    if found:
        return Origin(found[-1], results, said)
    torn = sorted(results.checkpoints.glob(f"{checkpoints.directory_name(wanted.step or 0, 0)[:-1]}*"))
    if wanted.step is not None and torn:
        return Origin(_opened(torn[-1], said, results), results, said)
    missing = f"has no checkpoint of step {wanted.step}" if wanted.step is not None else "has no complete checkpoint"
    raise ConfigError(f"{_FIELD}: job {name} {missing}.", _existing(results))


def _opened(directory: Path, said: str, results: Results) -> Checkpoint:
    """The checkpoint in a directory. Raises ConfigError with the reason where it is none."""
    if not directory.is_dir():
        raise ConfigError(f"{_FIELD}: {said} is no directory there.", _existing(results))
    checkpoint = checkpoints.opened(directory)
    if checkpoint is None:
        reason = (
            "files are missing or cut short" if (directory / checkpoints.MANIFEST).is_file() else "no manifest.json"
        )
        raise ConfigError(f"{_FIELD}: {said} is torn: {reason}.", f"Name another one. {_existing(results)}")
    return checkpoint


def _existing(results: Results) -> str:
    steps = sorted({checkpoint.step for checkpoint in checkpoints.complete(results.checkpoints)})
    return f"Complete checkpoints there are of step {', '.join(map(str, steps))}." if steps else "There is none."


def _check_fit(origin: Origin, config: TrainerConfig) -> None:
    """Raises ConfigError where the weights or the optimizer's state belong to another model than this job's."""
    record = origin.results.read_run_record()
    if record is None:
        return
    there, here = _what_must_fit(record.spec), _what_must_fit(config.spec)
    found = [
        f"{field} is {there.get(field, 'not set')} there and {here.get(field, 'not set')} here"
        for field in sorted({*there, *here})
        if there.get(field) != here.get(field)
    ]
    model = config.spec.model.job
    if model is not None and (digest := record.revisions.get(f"job {model.name}")) != config.digests.get(model.name):
        found.append(f"job {model.name} has another output since ({digest} there)")
    if found:
        raise ConfigError(
            f"{_FIELD}: {origin.said} does not fit this job: {'; '.join(found)}.",
            "Write the same model, tuning and optimizer; or begin with that job's output by model.job.",
        )


def _what_must_fit(spec: FineTuneJobSpec) -> dict[str, Any]:
    """Field to value, of what the tensors of a checkpoint depend on."""
    document = resolve(spec).spec.dump()
    fields = {f"{block}.{name}": value for block in _MUST_FIT for name, value in document[block].items()}
    fields["hyperparameters.optimizer"] = document["hyperparameters"]["optimizer"]
    fields.pop("tuning.dropout", None)
    return {
        name: {key: item for key, item in value.items() if key not in _CREDENTIALS}
        if isinstance(value, dict)
        else value
        for name, value in fields.items()
        if name.partition(".")[2] not in _CREDENTIALS
    }


def _copied(source: Path, target: Path, claim: RunClaim, heartbeat: Callable[[int], None]) -> str:
    """Copies a file onto the disk. Returns the digest of what was read."""
    digest = xxhash.xxh3_128()
    with claim.fenced():
        target.parent.mkdir(exist_ok=True)
        with source.open("rb") as content, target.open("wb") as copy:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
                heartbeat(len(chunk))
    let_group_read(target)
    sync_file(target, heartbeat)
    return digest.hexdigest()


def _continue_the_curve(origin: Origin, results: Results, claim: RunClaim) -> None:
    """The figures up to the checkpoint are those of the job that wrote it; they are of no run of this one."""
    step = origin.checkpoint.step
    entries = [{**entry, "run": 0} for entry in read_metrics(origin.results) if entry["step"] <= step]
    entries = entries or [{"step": step, "run": 0, "began": True}]
    claim.write(results.metrics, "".join(json.dumps(entry) + "\n" for entry in entries))
