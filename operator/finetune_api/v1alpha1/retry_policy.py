"""What happens when an attempt ends badly."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import NonNegativeInt, PositiveInt, SpecModel


class RetryPolicy(SpecModel):
    """What happens when an attempt ends badly."""

    max_retries: Annotated[NonNegativeInt, Field(le=100)] | None = None
    backoff_seconds: Annotated[NonNegativeInt, Field(le=86400)] | None = None
    max_backoff_seconds: Annotated[NonNegativeInt, Field(le=86400)] | None = None
    on_out_of_memory: Literal["ReduceBatch", "Fail"] | None = None
    on_divergence: Literal["Fail", "RewindOnce"] | None = None
    hang_timeout_seconds: Annotated[PositiveInt, Field(ge=30, le=604800)] | None = None
    start_deadline_seconds: Annotated[PositiveInt, Field(ge=10, le=604800)] | None = None
