"""The status of a FineTuneJob, written by the operator alone; read leniently: its strings are patterns, not enums."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

# Patterns, not enums, and for the schema alone: an older CRD must not refuse the words of a newer operator.
Word = Annotated[str, Field(json_schema_extra={"pattern": "^[A-Z][A-Za-z0-9]*$", "maxLength": 100})]
Truth = Annotated[str, Field(json_schema_extra={"pattern": "^(True|False|Unknown)$"})]


class StatusModel(BaseModel):
    """A part of status: unknown keys are kept out, nothing is required."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

    def dump(self) -> dict[str, Any]:
        """The fields that have a value, by their names in YAML."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Condition(StatusModel):
    """A condition as Kubernetes writes them."""

    type: Word
    """Accepted, Running, Suspended, Succeeded, Failed, Cancelled, Ready, Reconciling or Stalled."""
    status: Truth
    """True, False or Unknown."""
    reason: Word
    """Why, as one word."""
    message: str = ""
    """Why, as a sentence."""
    last_transition_time: str
    """When status changed."""
    observed_generation: int | None = None
    """The generation that was looked at."""


class Restarts(StatusModel):
    """How often an attempt followed another, by cause. Only failures and hangs use up retries."""

    total: int = 0
    """All of them."""
    failures: int = 0
    """After a crash; uses up a retry."""
    out_of_memory: int = 0
    """With a smaller batch."""
    disruptions: int = 0
    """After an eviction, a lost node or a deleted pod."""
    hangs: int = 0
    """After a hang; uses up a retry."""
    divergences: int | None = None
    """From a checkpoint before a loss that was not finite; at most once."""


class TokenStatus(StatusModel):
    """One key of a Secret in the job's namespace."""

    name: str
    """Name of the Secret."""
    key: str
    """The key in it."""


class JobStatus(StatusModel):
    """Another job whose results this one began with; what became of that job later does not matter any more."""

    name: str
    """The job."""
    claim: str
    """The claim with its results."""
    path: str
    """Their directory on it, `<job>/<fingerprint>`."""
    digest: str | None = None
    """Of the output that was taken over; missing where only checkpoints are read."""
    adapter: bool | None = None
    """Whether that output is an adapter, which is merged into the model that it was trained on."""
    model: str | None = None
    """The model that it was trained on."""
    claims: list[str] | None = None
    """Claims that this model is read from."""
    hub: bool | None = None
    """Whether this model comes from the hub."""
    token_secret: TokenStatus | None = None
    """The token with which it is read there."""


class EffectiveStatus(StatusModel):
    """What the job really runs with, and why."""

    method: str | None = None
    """The method."""
    tuning: str | None = None
    """The tuning type."""
    model: str | None = None
    """The base model, with its lineage."""
    results: str | None = None
    """The directory of results and checkpoints on the claim, `<job>/<fingerprint>`."""
    jobs: Annotated[list[JobStatus] | None, Field(json_schema_extra={"maxItems": 32})] = None
    """The jobs whose results it began with, the nearest first."""
    gpus: int | None = None
    """All GPUs of the job."""
    world_size: int | None = None
    """All processes of the job."""
    per_device_batch_size: int | None = None
    """Examples on a device at once."""
    gradient_accumulation_steps: int | None = None
    """Batches a step."""
    data_loader_workers: int | None = None
    """Processes that prepare batches."""
    gradient_checkpointing: bool | None = None
    """Whether activations are computed again."""
    precision: str | None = None
    """Number format of the computation."""
    strategy: str | None = None
    """How processes share the work."""
    learning_rate: float | None = None
    """The highest learning rate."""
    packing: bool | None = None
    """Whether rows hold several examples."""
    trainable_parameters: int | None = None
    """How many parameters are trained."""
    image: str | None = None
    """The trainer's image, kept across attempts."""
    diverged_at: int | None = None
    """The step whose loss was not finite: the job went back before it and passes over the rows up to it."""
    because: list[str] | None = None
    """Reasons of what was not written."""


class Progress(StatusModel):
    """How far the running attempt is."""

    summary: str | None = None
    """Share, step and steps, for people."""
    stage: str | None = None
    """What the trainer is doing."""
    step: int | None = None
    """Optimizer steps done."""
    total_steps: int | None = None
    """Optimizer steps in all."""
    epoch: float | None = None
    """Epochs done."""
    loss: float | None = None
    """The last training loss."""
    eval_loss: float | None = None
    """The last evaluation loss."""
    learning_rate: float | None = None
    """The rate of the last step."""
    gradient_norm: float | None = None
    """The norm of the last step."""
    tokens_per_second: float | None = None
    """Tokens a second over all devices."""
    remaining_seconds: float | None = None
    """Estimated seconds to the end."""
    eta: str | None = None
    """The same for people."""
    non_finite: bool | None = None
    """Whether a figure was not finite and so is missing."""
    gpu_utilization: float | None = None
    """Share of time in which the GPUs were busy."""
    gpu_memory_bytes: int | None = None
    """Largest memory of a GPU in use."""
    updated_at: str | None = None
    """When the trainer said so."""


class CheckpointEntry(StatusModel):
    """A complete checkpoint."""

    step: int
    """The optimizer step."""
    time: str | None = None
    """When it was complete."""
    bytes: int | None = None
    """Its size."""
    metric: str | None = None
    """The metric that was measured there."""
    value: float | None = None
    """Its value."""
    seconds: float | None = None
    """How long it took until it was complete; training went on meanwhile."""


class CheckpointStatus(StatusModel):
    """The complete checkpoints of the job."""

    latest: CheckpointEntry | None = None
    """The newest one."""
    best: CheckpointEntry | None = None
    """The best one."""
    count: int | None = None
    """How many there are."""


class OutputStatus(StatusModel):
    """Where the result lies."""

    claim: str | None = None
    """The claim."""
    path: str | None = None
    """The directory on it."""
    adapter: bool | None = None
    """Whether it is an adapter rather than a whole model."""
    bytes: int | None = None
    """Its size."""
    digest: str | None = None
    """Of its files; a job that begins with them is another one when they change."""
    pushed: str | None = None
    """Where it was pushed."""


class Failure(StatusModel):
    """Why the last bad attempt ended."""

    reason: Word
    """Why, as one word."""
    attempt: int | None = None
    """Which attempt."""
    rank: int | None = None
    """Which process."""
    node: str | None = None
    """On which node."""
    exit_code: int | None = None
    """Exit code of the process."""
    signal: str | None = None
    """Signal that ended it."""
    message: str | None = None
    """What was wrong."""
    advice: str | None = None
    """What to do."""


class HistoryEntry(StatusModel):
    """One run of the trainer."""

    attempt: int
    """The attempt it belongs to."""
    run: int | None = None
    """Number of the run on the volume."""
    started: str | None = None
    """When it began."""
    ended: str | None = None
    """When it ended."""
    reason: str | None = None
    """Why it ended."""
    from_step: int | None = None
    """The step that it continued from."""
    to_step: int | None = None
    """The last step."""
    failure: Failure | None = None
    """The first failing rank and what it died of, where the run ended badly; kept when later ones succeed."""


Conditions = Annotated[
    list[Condition],
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]


class FineTuneJobStatus(StatusModel):
    """What is known of a job."""

    observed_generation: int | None = None
    """The generation that was looked at last."""
    phase: Word | None = None
    """Pending, Queued, Starting, Running, Suspending, Suspended, Retrying, Succeeded, Failed or Cancelled."""
    conditions: Conditions | None = None
    """Conditions, as Kubernetes has them."""
    start_time: str | None = None
    """When the first attempt began."""
    completion_time: str | None = None
    """When the job ended."""
    active_seconds: int | None = None
    """Seconds of all attempts together; changes when one ends."""
    attempt: int | None = None
    """Number of the attempt."""
    restarts: Restarts | None = None
    """How often an attempt followed another, by cause."""
    effective: EffectiveStatus | None = None
    """What the job runs with, and why."""
    progress: Progress | None = None
    """How far the attempt is."""
    checkpoint: CheckpointStatus | None = None
    """The complete checkpoints."""
    metrics: dict[str, float | None] | None = None
    """Final figures of training and evaluation."""
    output: OutputStatus | None = None
    """Where the result lies."""
    failure: Failure | None = None
    """Why the last bad attempt ended."""
    warnings: list[str] | None = None
    """Advice, at most 10 sentences."""
    history: list[HistoryEntry] | None = None
    """One entry a run, at most 20."""
