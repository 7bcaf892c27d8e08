"""The status of a FineTuneJob, written by the operator alone; read leniently: its strings are patterns, not enums."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class StatusModel(BaseModel):
    """A part of status: unknown keys are kept out, nothing is required."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", use_attribute_docstrings=True
    )

    def dump(self) -> dict[str, Any]:
        """The fields that have a value, by their names in YAML."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Condition(StatusModel):
    """A condition as Kubernetes writes them."""

    type: str
    status: str
    reason: str
    message: str = ""
    last_transition_time: str
    observed_generation: int | None = None


class Restarts(StatusModel):
    """How often an attempt followed another, by cause. Only failures and hangs use up retries."""

    total: int = 0
    failures: int = 0
    out_of_memory: int = 0
    disruptions: int = 0
    hangs: int = 0


class EffectiveStatus(StatusModel):
    """What the job really runs with, and why."""

    method: str | None = None
    tuning: str | None = None
    model: str | None = None
    gpus: int | None = None
    world_size: int | None = None
    per_device_batch_size: int | None = None
    gradient_accumulation_steps: int | None = None
    data_loader_workers: int | None = None
    gradient_checkpointing: bool | None = None
    precision: str | None = None
    strategy: str | None = None
    learning_rate: float | None = None
    packing: bool | None = None
    trainable_parameters: int | None = None
    image: str | None = None
    because: list[str] | None = None


class Progress(StatusModel):
    """How far the running attempt is."""

    summary: str | None = None
    stage: str | None = None
    step: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    tokens_per_second: float | None = None
    remaining_seconds: float | None = None
    eta: str | None = None
    non_finite: bool | None = None
    gpu_utilization: float | None = None
    gpu_memory_bytes: int | None = None
    updated_at: str | None = None


class CheckpointEntry(StatusModel):
    """A complete checkpoint."""

    step: int
    time: str | None = None
    bytes: int | None = None
    metric: str | None = None
    value: float | None = None


class CheckpointStatus(StatusModel):
    """The complete checkpoints of the job."""

    latest: CheckpointEntry | None = None
    best: CheckpointEntry | None = None
    count: int | None = None


class OutputStatus(StatusModel):
    """Where the result lies."""

    claim: str | None = None
    path: str | None = None
    adapter: bool | None = None
    bytes: int | None = None
    pushed: str | None = None


class Failure(StatusModel):
    """Why the last bad attempt ended."""

    reason: str
    attempt: int | None = None
    rank: int | None = None
    node: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    message: str | None = None
    advice: str | None = None


class HistoryEntry(StatusModel):
    """One run of the trainer."""

    attempt: int
    run: int | None = None
    started: str | None = None
    ended: str | None = None
    reason: str | None = None
    from_step: int | None = None
    to_step: int | None = None


class FineTuneJobStatus(StatusModel):
    """What is known of a job."""

    observed_generation: int | None = None
    phase: str | None = None
    """Pending, Queued, Starting, Running, Suspending, Suspended, Retrying, Succeeded, Failed or Cancelled."""
    conditions: list[Condition] | None = None
    start_time: str | None = None
    completion_time: str | None = None
    active_seconds: int | None = None
    attempt: int | None = None
    restarts: Restarts | None = None
    effective: EffectiveStatus | None = None
    progress: Progress | None = None
    checkpoint: CheckpointStatus | None = None
    metrics: dict[str, float | None] | None = None
    output: OutputStatus | None = None
    failure: Failure | None = None
    warnings: list[str] | None = None
    history: list[HistoryEntry] | None = None
