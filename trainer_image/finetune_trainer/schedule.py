"""From the spec's words (epochs, everyEpoch, everyMinutes, bestMetric) to steps and seconds. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from finetune_api.v1alpha1.spec import FineTuneJobSpec

from .callbacks.flow import Schedule
from .callbacks.stopping import EarlyStop
from .errors import ConfigError

_MEASURED = {"eval_loss": False, "eval_perplexity": False}
"""What an evaluation gives, and whether more of it is better."""


@dataclass(frozen=True)
class Metric:
    """The metric by which the best checkpoint is chosen."""

    name: str
    greater_is_better: bool


def resolve_schedule(
    spec: FineTuneJobSpec, *, rows: int, effective_batch: int, measures: bool
) -> tuple[Schedule, EarlyStop | None, Metric]:
    """When what happens. `measures`: there are validation rows. Raises ConfigError."""
    hyper, evaluation, checkpoint = spec.hyperparameters, spec.evaluation, spec.checkpoint
    per_epoch = -(-rows // effective_batch)
    epochs = hyper.epochs if hyper and hyper.epochs else 1.0
    total = hyper.max_steps if hyper and hyper.max_steps else max(1, math.ceil(epochs * per_epoch))
    metric = _metric((checkpoint and checkpoint.best_metric) or "eval_loss", "checkpoint.bestMetric")
    every = (evaluation.every_steps if evaluation and evaluation.every_steps else per_epoch) if measures else None
    minutes = checkpoint.every_minutes if checkpoint else None
    schedule = Schedule(
        total_steps=total,
        # At most about a hundred points in a short run, one in ten steps in a long one.
        log_every=1 if total <= 200 else 10,
        evaluate_every=every,
        save_every=checkpoint.every_steps if checkpoint else None,
        save_seconds=None if minutes is None else minutes * 60,
        evaluate_with_saves=measures and bool(checkpoint and checkpoint.keep_best),
    )
    return schedule, _early_stop(spec, measures), metric


def _early_stop(spec: FineTuneJobSpec, measures: bool) -> EarlyStop | None:
    wanted = spec.evaluation.early_stopping if spec.evaluation else None
    if wanted is None:
        return None
    if not measures:
        raise ConfigError(
            "evaluation.earlyStopping needs validation rows, and there are none.",
            "Set dataset.split.validation or dataset.validation, or leave earlyStopping out.",
        )
    metric = _metric(wanted.metric or "eval_loss", "evaluation.earlyStopping.metric")
    return EarlyStop(wanted.patience, wanted.min_delta or 0.0, metric.name, metric.greater_is_better)


def _metric(name: str, field: str) -> Metric:
    full = name if name.startswith("eval_") else f"eval_{name}"
    if full not in _MEASURED:
        raise ConfigError(f"{field} {name} is not measured.", f"Write one of {', '.join(_MEASURED)}.")
    return Metric(full, _MEASURED[full])
