"""Where the model lies: on a claim, on the hub at a pinned commit, or where another job left it. Loads nothing.

The output of a job may be an adapter: then the model beneath it is looked for where that job found it, and so on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from finetune_api.trainer_contract import RunRecord, TrainerConfig
from finetune_api.v1alpha1.model import Model

from ..errors import ConfigError, ModelError
from ..results import Results

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class Adapter:
    """The output of another job, to be merged into what it was trained on."""

    job: str
    directory: Path


@dataclass(frozen=True)
class ModelSource:
    """What to give to from_pretrained."""

    name: str
    """A directory or a hub id."""
    said: str
    """What the person wrote, for messages."""
    revision: str | None
    is_hub: bool
    has_weights: bool
    trust_remote_code: bool
    lineage: str
    """Where it comes from, for the status: `job sft on models/base`."""
    adapters: tuple[Adapter, ...] = ()
    """What is merged into it, in this order."""

    @property
    def tokenizer(self) -> str:
        """Whence the tokenizer comes: a job may have changed it."""
        return str(self.adapters[-1].directory) if self.adapters else self.name


def locate(config: TrainerConfig, earlier: RunRecord | None) -> ModelSource:
    """Finds the model of the spec. Raises ModelError with what lies there instead."""
    return _locate(config.spec.model, config, earlier)


def _locate(model: Model, config: TrainerConfig, earlier: RunRecord | None) -> ModelSource:
    """The model that the job `earlier` is of began with, or will begin with."""
    if model.job is not None:
        return _of_job(model.job.name, config)
    trust = bool(model.trust_remote_code)
    if model.hub is not None:
        name = model.hub.id
        revision = (earlier.revisions.get(name) if earlier else None) or model.hub.revision
        return ModelSource(name, f"hub model {name}", revision, True, True, trust, lineage=name)
    if model.claim is None:
        raise ConfigError("spec.model names none of hub, claim and job.", "Write one of them.")
    mount = config.mounts.claims.get(model.claim.name)
    if mount is None:
        raise ModelError(f"The claim {model.claim.name} of spec.model is not mounted.")
    said = f"spec.model: {model.claim.path or '.'} on claim {model.claim.name}"
    directory = Path(mount) / (model.claim.path or "")
    if not directory.is_dir():
        raise ModelError(f"{said} is no directory there. {_what_is_near(directory, Path(mount))}", _ADVICE)
    if not (directory / "config.json").is_file():
        adapter = (directory / "adapter_config.json").is_file()
        found = "an adapter, not a model" if adapter else f"no config.json, but: {_names(directory)}"
        raise ModelError(f"{said} holds {found}.", _ADVICE)
    unreadable = [path.name for path in directory.iterdir() if not os.access(path, os.R_OK)]
    if unreadable:  # safetensors itself would say that there is no such file
        raise ModelError(
            f"{said}: user {os.getuid()} may not read {', '.join(sorted(unreadable))}.",
            "Let everybody read the files (chmod -R a+rX), or set podTemplate.securityContext to their owner or group.",
        )
    has_weights = any(next(directory.glob(pattern), None) for pattern in _WEIGHTS)
    lineage = f"{model.claim.name}/{model.claim.path or ''}"
    return ModelSource(str(directory), said, None, False, has_weights, trust, lineage)


def _of_job(name: str, config: TrainerConfig) -> ModelSource:
    """The output of another job: a model, or an adapter upon what that job began with."""
    said = f"the output of job {name}"
    mount = config.mounts.jobs.get(name)
    if mount is None:
        raise ModelError(f"The results of job {name} are not mounted.")
    results = Results(Path(mount))
    report, record = results.complete_report(), results.read_run_record()
    if report is None or record is None:
        raise ModelError(f"The results of job {name} hold no complete output.", _TAKEN_AGAIN)
    began_with, there = config.digests.get(name), (report.get("output") or {}).get("digest")
    if began_with is not None and began_with != there:
        raise ModelError(f"Job {name} was trained again: {said} is not the one that this job began with.", _TAKEN_AGAIN)
    beneath = record.effective.model
    lineage = f"job {name} on {beneath}" if beneath else f"job {name}"
    if not (results.output / "adapter_config.json").is_file():
        return ModelSource(str(results.output), said, None, False, True, False, lineage)
    base = _locate(record.spec.model, config, record)
    return replace(base, said=said, lineage=lineage, adapters=(*base.adapters, Adapter(name, results.output)))


_TAKEN_AGAIN = "Delete this job and create it again: it then begins with the output that is there."
_ADVICE = (
    "model.claim.path must name a directory with config.json, a tokenizer and weights (save_pretrained writes it)."
)


def _what_is_near(missing: Path, mount: Path) -> str:
    nearest = missing.parent
    while not nearest.is_dir() and nearest != mount and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        return "The claim's mount itself is missing."
    place = "the claim's root" if nearest == mount else nearest.relative_to(mount).as_posix()
    return f"In {place} there is: {_names(nearest)}."


def _names(directory: Path) -> str:
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in directory.iterdir())
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "") if names else "nothing"
