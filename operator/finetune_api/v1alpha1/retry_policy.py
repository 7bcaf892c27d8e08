"""What happens when an attempt ends badly."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import NonNegativeInt, PositiveInt, SpecModel


class RetryPolicy(SpecModel):
    """What happens when an attempt ends badly."""

    max_retries: Annotated[NonNegativeInt, Field(le=100)] | None = None
    """How many failures and hangs are tried again; evictions and lost nodes are not counted."""
    backoff_seconds: Annotated[NonNegativeInt, Field(le=86400)] | None = None
    """The first wait before a new attempt; it doubles each time."""
    max_backoff_seconds: Annotated[NonNegativeInt, Field(le=86400)] | None = None
    """The longest wait."""
    on_out_of_memory: Literal["ReduceBatch", "Fail"] | None = None
    """Whether a smaller device batch (with the same effective batch) is tried when the device's memory is full."""
    on_divergence: Literal["Fail", "RewindOnce"] | None = None
    """Whether a loss that is not finite ends the job, or goes back one checkpoint once."""
    hang_timeout_seconds: Annotated[PositiveInt, Field(ge=30, le=604800)] | None = None
    """Without a sign of life for so long an attempt counts as hanging."""
    start_deadline_seconds: Annotated[PositiveInt, Field(ge=10, le=604800)] | None = None
    """How long pods may take to start."""
