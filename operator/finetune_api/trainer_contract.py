"""What operator and trainer say to each other: configuration, progress, records, exit codes, files on the volume.

Everything here is versioned and lenient: unknown keys are ignored, so that operator and trainer may differ by a
version. Strictness is for what people write (v1alpha1). Neither side may import the other.
"""

from __future__ import annotations

import base64
import json
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, WrapSerializer
from pydantic.alias_generators import to_camel

from .v1alpha1.spec import FineTuneJobSpec

CONTRACT_VERSION = 1
CONFIG_VARIABLE = "FINETUNE_CONFIG"
GANG_TOKEN_VARIABLE = "FINETUNE_GANG_TOKEN"
"""What all pods of an attempt of several nodes know and strangers do not: the uid of their Job."""
MAXIMUM_CONFIG_BYTES = 96 * 1024
MAXIMUM_TERMINATION_MESSAGE_BYTES = 4096
MAXIMUM_PROGRESS_BYTES = 64 * 1024
PROGRESS_PORT = 8080
TERMINATION_MESSAGE_PATH = "/dev/termination-log"


class EndKind(StrEnum):
    """How an attempt ended, as the supervisor says it."""

    FINISHED = "Finished"
    USER_ERROR = "UserError"
    DEVICE_OUT_OF_MEMORY = "DeviceOutOfMemory"
    HOST_OUT_OF_MEMORY = "HostOutOfMemory"
    DIVERGED = "Diverged"
    INTERRUPTED = "Interrupted"
    HANG = "Hang"
    DEVICE_UNAVAILABLE = "DeviceUnavailable"
    INTERNAL_ERROR = "InternalError"


class ExitCode(IntEnum):
    """The supervisor's exit codes; one for each kind of end."""

    FINISHED = 0
    INTERNAL_ERROR = 1
    USER_ERROR = 10
    DEVICE_OUT_OF_MEMORY = 11
    HOST_OUT_OF_MEMORY = 12
    DIVERGED = 13
    INTERRUPTED = 14
    HANG = 15
    DEVICE_UNAVAILABLE = 16

    @property
    def kind(self) -> EndKind:
        return EndKind[self.name]

    @classmethod
    def of(cls, kind: EndKind) -> ExitCode:
        return cls[kind.name]


Stage = Literal["Starting", "LoadingData", "LoadingModel", "Training", "Evaluating", "Saving", "Finishing"]


class ContractModel(BaseModel):
    """A message between operator and trainer: camelCase, unknown keys ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        ser_json_inf_nan="null",
    )

    def dump(self) -> dict[str, Any]:
        """The set fields, by their names on the wire. A number that is not finite becomes null."""
        loaded: dict[str, Any] = json.loads(self.model_dump_json(by_alias=True, exclude_none=True))
        return loaded

    @classmethod
    def load(cls, data: str | bytes) -> Self:
        """Reads a message, ignoring what this version does not know. Raises pydantic.ValidationError."""
        return cls.model_validate(json.loads(data), extra="ignore")


class JobIdentity(ContractModel):
    """Whose attempt this is."""

    name: str
    namespace: str
    uid: str


class Mounts(ContractModel):
    """Where things outside the resource are to be found in the trainer's file system (absolute paths)."""

    output: str
    """`<volume>/<job>`: the directory of the job's name, under which the fingerprint's directory lies."""
    claims: dict[str, str] = {}
    """Claim name to the directory where it is mounted read-only."""
    config_maps: dict[str, str] = {}
    """ConfigMap name to the directory that has a file for each key."""
    jobs: dict[str, str] = {}
    """Referenced FineTuneJob to the directory of its results (with `output/` and `checkpoints/` below it)."""


class World(ContractModel):
    """The processes of an attempt."""

    nodes: int = 1
    processes_per_node: int = 1
    device: Literal["Auto", "CUDA", "CPU"] = "Auto"
    """CUDA: devices were asked for, an attempt that sees none ends as DeviceUnavailable. Auto: what there is, with a
    printed warning where a job that asks for devices runs on a CPU (local runs)."""


class Adaptation(ContractModel):
    """What earlier attempts taught about memory; overrides the spec without changing what is learnt."""

    per_device_batch_size: int | None = None
    gradient_accumulation_steps: int | None = None
    data_loader_workers: int | None = None
    gradient_checkpointing: bool | None = None


def _only_what_was_set(value: FineTuneJobSpec, handler: SerializerFunctionWrapHandler) -> Any:
    # exclude_none on the outside must not change what the spec says.
    return value.dump()


class TrainerConfig(ContractModel):
    """The whole input of an attempt; travels base64-encoded in FINETUNE_CONFIG."""

    contract_version: int = CONTRACT_VERSION
    job: JobIdentity
    attempt: Annotated[int, Field(ge=1)]
    fingerprint: str
    """16 hexadecimal digits: the directory below `mounts.output`."""
    spec: Annotated[FineTuneJobSpec, WrapSerializer(_only_what_was_set)]
    """The spec with every default filled in, but for those that only the trainer can resolve."""
    mounts: Mounts
    digests: dict[str, str] = {}
    """Referenced FineTuneJob to the digest of the output that this job began with."""
    world: World = World()
    adaptation: Adaptation = Adaptation()
    diverged_at: int | None = None
    """The step whose loss was not finite in an earlier attempt: this one goes back before it and passes over the rows
    up to it (retryPolicy.onDivergence RewindOnce). Stays in the configuration of all later attempts."""
    image: str | None = None
    progress_port: int = PROGRESS_PORT
    """Port of /progress and /metrics on rank 0; 0 means none."""
    progress_host: str = ""
    """Address to bind; empty means all of them (in a pod)."""

    def encode(self) -> str:
        """Base64 JSON: plain text would be rewritten by `$(NAME)` expansion in a pod."""
        return base64.b64encode(json.dumps(self.dump(), separators=(",", ":")).encode()).decode()

    @classmethod
    def decode(cls, text: str) -> Self:
        """The reverse of encode. Raises ValueError where the text is no configuration."""
        return cls.load(base64.b64decode(text, validate=True))


class CheckpointInfo(ContractModel):
    """A complete checkpoint, as status shows it."""

    step: int
    time: str | None = None
    """RFC 3339, UTC."""
    bytes: int | None = None
    metric: str | None = None
    value: float | None = None
    seconds: float | None = None
    """How long it took until it was complete."""


class Saves(ContractModel):
    """The saving of this run, added up."""

    written: int = 0
    """Checkpoints that were completed."""
    failed: int = 0
    """Checkpoints that could not be written; training went on."""
    bytes: int = 0
    """Of those completed."""
    seconds: float = 0.0
    """From the step boundary to the manifest."""
    stall_seconds: float = 0.0
    """Of these, those in which training stood still."""


class CheckpointState(ContractModel):
    """The complete checkpoints of a run directory."""

    latest: CheckpointInfo | None = None
    best: CheckpointInfo | None = None
    count: int = 0


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
    because: list[str] = []


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
    warnings: list[str] = []
    updated_at: str
    previous: AttemptRecord | None = None
    """The rebuilt record of a run before this one that could not write its own (SIGKILL)."""


class Result(ContractModel):
    """Where the result lies, relative to `mounts.output`."""

    path: str
    adapter: bool
    bytes: int
    digest: str | None = None
    """128-bit xxh3 of names and contents of the files that are learnt from: not the report, not the model card."""


FIGURES = ("epoch", "loss", "eval_loss", "learning_rate", "gradient_norm")
"""What a report and the record of an attempt say of their step."""


VOLUME_FULL = "VolumeFull"


class AttemptRecord(ContractModel):
    """The termination message of an attempt; at most 4,096 bytes, see encode for what is cut first."""

    contract_version: int = CONTRACT_VERSION
    uid: str
    attempt: int
    run: int | None = None
    kind: EndKind
    cause: str | None = None
    """A closer word for the kind, where there is one: VolumeFull, of an internal error."""
    already_complete: bool = False
    step: int | None = None
    from_step: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    """Of that step, as are the other figures."""
    eval_loss: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    message: str = ""
    advice: str = ""
    rank: int | None = None
    """The rank that failed first, on whichever node."""
    exit_code: int | None = None
    signal: str | None = None
    node: int | None = None
    """Index of the node of that rank."""
    ended_at: str | None = None
    """When that rank ended: RFC 3339, UTC, milliseconds."""
    collateral: bool = False
    """No rank of the node that writes this was at fault: they were ended with the gang."""
    checkpoint: CheckpointState = CheckpointState()
    effective: Effective = Effective()
    metrics: dict[str, float | None] = {}
    output: Result | None = None
    warnings: list[str] = []

    def encode(self, limit: int = MAXIMUM_TERMINATION_MESSAGE_BYTES) -> str:
        """JSON of at most `limit` bytes. Cut in this order: warnings, because, metrics, then message and advice by
        halves, and at last everything but identity, kind and steps."""
        record = self
        cuts: tuple[dict[str, Any], ...] = (
            {"warnings": []},
            {"effective": self.effective.model_copy(update={"because": []})},
            {"metrics": {}},
        )
        for fields in cuts:
            if record._size() <= limit:
                return record._text()
            record = record.model_copy(update=fields)
        while record._size() > limit and (len(record.message) > 80 or len(record.advice) > 80):
            record = record.model_copy(update={"message": _halved(record.message), "advice": _halved(record.advice)})
        if record._size() > limit:
            record = AttemptRecord(
                uid=self.uid,
                attempt=self.attempt,
                run=self.run,
                kind=self.kind,
                cause=self.cause,
                step=self.step,
                from_step=self.from_step,
                rank=self.rank,
                exit_code=self.exit_code,
                signal=self.signal,
                node=self.node,
                ended_at=self.ended_at,
                collateral=self.collateral,
            )
        return record._text()

    def _text(self) -> str:
        return json.dumps(self.dump(), separators=(",", ":"), ensure_ascii=False)

    def _size(self) -> int:
        return len(self._text().encode())


def _halved(text: str) -> str:
    return text if len(text) <= 80 else text[: len(text) // 2].rstrip() + " …"


class ManifestFile(ContractModel):
    """One file of a checkpoint."""

    path: str
    """Relative to the checkpoint directory."""
    bytes: int
    xxh3: str
    """128-bit xxh3 of the content, hexadecimal."""


class CheckpointManifest(ContractModel):
    """`manifest.json`, written last and atomically: without it the directory is no checkpoint."""

    contract_version: int = CONTRACT_VERSION
    step: int
    run: int
    world_size: int
    created_at: str
    files: list[ManifestFile]
    metric: str | None = None
    value: float | None = None
    seconds: float | None = None
    """From the step boundary until all files were on the disk."""


class Rewind(ContractModel):
    """A divergence that the job went back before: what later attempts have to know of it."""

    diverged_at: int
    """The step whose loss was not finite."""
    to_step: int
    """The checkpoint from which it went on; 0 is the beginning."""
    run: int
    """The run that went back: checkpoints of later steps count only from this run on."""


class RunRecord(ContractModel):
    """`run.json`: what the first attempt resolved, obeyed by all later ones."""

    contract_version: int = CONTRACT_VERSION
    fingerprint: str
    spec: Annotated[FineTuneJobSpec, WrapSerializer(_only_what_was_set)]
    effective: Effective
    data_fingerprint: str
    """Hash of the rows that were read, before splitting."""
    revisions: dict[str, str] = {}
    """Hub id to commit; `job <name>` to the digest of that job's output."""
    versions: dict[str, str] = {}
    """Library to version."""
    image: str | None = None
    rewind: Rewind | None = None


ProgressReport.model_rebuild()
