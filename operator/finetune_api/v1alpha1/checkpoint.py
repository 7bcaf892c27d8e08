"""When checkpoints are written, which are kept, and from which one a job starts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import PositiveInt, SpecModel
from .evaluation import MetricName
from .references import CheckpointReference


class Checkpoint(SpecModel):
    """When checkpoints are written and which are kept."""

    every_steps: PositiveInt | None = None
    every_minutes: Annotated[float, Field(gt=0, le=10080)] | None = None
    keep: Annotated[PositiveInt, Field(le=100)] | None = None
    keep_best: bool | None = None
    best_metric: MetricName | None = None
    grace_period_seconds: Annotated[PositiveInt, Field(ge=10, le=86400)] | None = None
    resume: Literal["Auto", "Never"] | None = None
    from_: Annotated[CheckpointReference | None, Field(alias="from")] = None
