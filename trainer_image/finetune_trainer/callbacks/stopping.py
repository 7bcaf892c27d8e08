"""Early stopping, computed from the history alone, so that a resumed run decides as the uninterrupted one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EarlyStop:
    """Stop when the metric has not become better by `min_delta` for `patience` evaluations."""

    patience: int
    min_delta: float
    metric: str
    greater_is_better: bool

    def reached(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """`history`: one entry for each evaluation (others are passed over), oldest first."""
        best: float | None = None
        waited = 0
        for entry in history:
            value = entry.get(self.metric)
            if value is None:
                continue
            gain = None if best is None else (value - best if self.greater_is_better else best - value)
            if gain is None or gain > self.min_delta:
                best, waited = value, 0
            else:
                waited += 1
        return waited >= self.patience
