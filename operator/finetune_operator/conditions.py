"""Conditions as Kubernetes keeps them: one a type, the transition time moves only with the status; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from finetune_api.v1alpha1.status import Condition

from . import times

LONGEST_MESSAGE = 1024
_ORDER = (
    "Accepted",
    "Running",
    "Suspended",
    "Succeeded",
    "Failed",
    "Cancelled",
    "Ready",
    "Reconciling",
    "Stalled",
)


def find(conditions: Sequence[Condition] | None, kind: str) -> Condition | None:
    """The condition of a type, or None."""
    return next((condition for condition in conditions or () if condition.type == kind), None)


def is_true(conditions: Sequence[Condition] | None, kind: str) -> bool:
    """Whether the condition is there and True."""
    found = find(conditions, kind)
    return found is not None and found.status == "True"


def put(
    conditions: Sequence[Condition] | None,
    kind: str,
    value: bool,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> list[Condition]:
    """The conditions with this one in its place, in a fixed order."""
    before = find(conditions, kind)
    status = "True" if value else "False"
    moved = times.text(now) if before is None or before.status != status else before.last_transition_time
    made = Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message[:LONGEST_MESSAGE],
        last_transition_time=moved,
        observed_generation=generation,
    )
    others = [condition for condition in conditions or () if condition.type != kind]
    return sorted([*others, made], key=lambda c: _ORDER.index(c.type) if c.type in _ORDER else len(_ORDER))
