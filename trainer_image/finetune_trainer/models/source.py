"""Where the base model lies: a directory on a claim, or a hub repository at a pinned commit. Loads nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from finetune_api.trainer_contract import RunRecord, TrainerConfig

from ..errors import ConfigError, ModelError

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


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


def locate(config: TrainerConfig, earlier: RunRecord | None) -> ModelSource:
    """Finds the model of the spec. Raises ModelError with what lies there instead."""
    model = config.spec.model
    trust = bool(model.trust_remote_code)
    if model.hub is not None:
        pinned = earlier.revisions.get(model.hub.id) if earlier else None
        return ModelSource(model.hub.id, f"hub model {model.hub.id}", pinned or model.hub.revision, True, True, trust)
    if model.claim is None:
        raise ConfigError("spec.model names neither hub nor claim.", "Write model.hub or model.claim.")
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
    return ModelSource(str(directory), said, None, False, has_weights, trust)


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
