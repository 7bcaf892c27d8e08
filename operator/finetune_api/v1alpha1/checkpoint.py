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
    """Save every so many optimizer steps."""
    every_minutes: Annotated[float, Field(gt=0, le=10080)] | None = None
    """Save every so many minutes; without either it depends on how long a save takes, at least 10 minutes."""
    keep: Annotated[PositiveInt, Field(le=100)] | None = None
    """How many of the newest checkpoints are kept."""
    keep_best: bool | None = None
    """Keep the best checkpoint as well."""
    best_metric: MetricName | None = None
    """The metric by which a checkpoint is the best."""
    grace_period_seconds: Annotated[PositiveInt, Field(ge=10, le=86400)] | None = None
    """How long a pod that is told to stop has for its last checkpoint."""
    resume: Literal["Auto", "Never"] | None = None
    """Auto continues from the newest complete checkpoint, Never starts afresh."""
    from_: Annotated[CheckpointReference | None, Field(alias="from")] = None
    """A checkpoint of another job to start a branch from."""
