"""What learns: the model with its adapter, and how this attempt's device and memory are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finetune_api.trainer_contract import Effective

from ..errors import ConfigError
from ..heartbeats import beat_while_moving, data_moved
from ..models.adapter import attach, parameters
from ..models.loading import check_vocabulary, load_model
from ..models.precision import weight_type
from ..settings import Settings, effective_of, resolve_settings
from .material import Material
from .run import Run


@dataclass(frozen=True)
class Learner:
    """A model that is ready to learn."""

    model: Any
    settings: Settings
    effective: Effective
    """The settings, as status shows them."""


def load_learner(run: Run, material: Material) -> Learner:
    """Loads the weights and attaches the adapter. Raises UserError."""
    source, heartbeat = material.source, run.rank.heartbeat
    if not run.full and not source.has_weights:
        raise ConfigError(f"{source.said} has no weights, and an adapter cannot learn alone.", "Set tuning.type: Full.")
    settings = resolve_settings(run.config, run.world.device, run.rank.world_size, run.earlier)
    with beat_while_moving(data_moved, heartbeat):
        model = load_model(
            source, material.model_config, dtype=weight_type(settings.precision, full=run.full),
            attention=settings.attention, seed=run.seed, warn=run.progress.warn,
        )  # fmt: skip
    check_vocabulary(model, material.tokenizer, source)
    model = attach(model, run.tuning, seed=run.seed, upon=source.lineage if source.adapters else None)
    heartbeat()
    effective = effective_of(
        run.config, settings, model=source.lineage, device=run.world.device, parameters=parameters(model)
    )
    run.progress.effective(effective)
    return Learner(model, settings, effective)
