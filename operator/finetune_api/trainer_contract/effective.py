"""What only the trainer can resolve, and says."""

from __future__ import annotations

from pydantic import Field

from .message import ContractModel


class Effective(ContractModel):
    """What the trainer resolved, for status.effective."""

    model: str | None = None
    world_size: int | None = None
    per_device_batch_size: int | None = None
    gradient_accumulation_steps: int | None = None
    precision: str | None = None
    strategy: str | None = None
    learning_rate: float | None = None
    packing: bool | None = None
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    device: str | None = None
    because: list[str] = Field(default_factory=list)
