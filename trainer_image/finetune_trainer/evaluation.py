"""The loss on held-out rows: the mean over all tokens that count, whatever the batches. Generates nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

from .batches import IGNORED
from .world import World


class EvaluationAbandoned(Exception):  # noqa: N818  # no error: it was agreed on
    """The ranks agreed to stop in the middle of an evaluation."""


@torch.no_grad()
def mean_loss(
    model: Any,
    batches: Iterable[dict[str, torch.Tensor]],
    world: World,
    *,
    autocast: torch.dtype | None,
    stop: Callable[[], bool],
    heartbeat: Callable[[int], None],
    rounds: int,
) -> float:
    """Negative log-likelihood per token, in nats.

    `stop`: asked after each batch, on every rank equally often, whether the ranks have agreed to stop.
    `rounds`: the largest number of batches that any rank has. Raises EvaluationAbandoned.
    """
    training = model.training
    model.eval()
    total, tokens = 0.0, 0.0
    iterator = iter(batches)
    try:
        for _ in range(rounds):
            batch = next(iterator, None)
            if batch is not None:
                loss, count = _batch_loss(model, batch, world.device, autocast)
                total += loss
                tokens += count
            heartbeat(1)
            if stop():
                raise EvaluationAbandoned
    finally:
        model.train(training)
    total, tokens = world.sum([total, tokens])
    return total / tokens if tokens else math.nan


def _batch_loss(
    model: Any, batch: dict[str, torch.Tensor], device: torch.device, autocast: torch.dtype | None
) -> tuple[float, int]:
    count = int(batch["labels"][:, 1:].ne(IGNORED).sum())
    if count == 0:
        return 0.0, 0
    on_device = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        loss = model(**on_device, use_cache=False).loss
    return float(loss) * count, count


def perplexity(loss: float) -> float | None:
    """exp(loss), or None where that is no finite number."""
    return math.exp(loss) if math.isfinite(loss) and loss < 700 else None
