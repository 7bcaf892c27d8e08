"""What an attempt says of itself while it works: the answer of `GET /progress`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .checkpoint import CheckpointState, Saves
from .effective import Effective
from .message import CONTRACT_VERSION, ContractModel
from .record import AttemptRecord

MAXIMUM_PROGRESS_BYTES = 64 * 1024
Stage = Literal["Starting", "LoadingData", "LoadingModel", "Training", "Evaluating", "Saving", "Finishing"]


class ProgressReport(ContractModel):
    """The answer of `GET /progress` on rank 0."""

    contract_version: int = CONTRACT_VERSION
    uid: str
    attempt: int
    run: int
    """The number that this run claimed on the volume."""
    stage: Stage
    step: int = 0
    from_step: int = 0
    """The step that this run continued from."""
    total_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    tokens_per_second: float | None = None
    remaining_seconds: float | None = None
    non_finite: bool = False
    gpu_utilization: float | None = None
    gpu_memory_bytes: int | None = None
    checkpoint: CheckpointState = CheckpointState()
    saves: Saves = Saves()
    effective: Effective = Effective()
    warnings: list[str] = Field(default_factory=list)
    updated_at: str
    previous: AttemptRecord | None = None
    """The rebuilt record of a run before this one that could not write its own (SIGKILL)."""
