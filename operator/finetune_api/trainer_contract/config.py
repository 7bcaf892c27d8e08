"""What an attempt is told: its whole input, and how that reaches the pod."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, WrapSerializer

from ..v1alpha1.spec import FineTuneJobSpec
from .message import CONTRACT_VERSION, ContractModel

CONFIG_VARIABLE = "FINETUNE_CONFIG"
GANG_TOKEN_VARIABLE = "FINETUNE_GANG_TOKEN"
"""What all pods of an attempt of several nodes know and strangers do not: the uid of their Job."""
MAXIMUM_CONFIG_BYTES = 96 * 1024
PROGRESS_PORT = 8080


class JobIdentity(ContractModel):
    """Whose attempt this is."""

    name: str
    namespace: str
    uid: str


class Mounts(ContractModel):
    """Where things outside the resource are to be found in the trainer's file system (absolute paths)."""

    output: str
    """`<volume>/<job>`: the directory of the job's name, under which the fingerprint's directory lies."""
    claims: dict[str, str] = Field(default_factory=dict)
    """Claim name to the directory where it is mounted read-only."""
    config_maps: dict[str, str] = Field(default_factory=dict)
    """ConfigMap name to the directory that has a file for each key."""
    jobs: dict[str, str] = Field(default_factory=dict)
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


def only_what_was_set(value: FineTuneJobSpec, handler: SerializerFunctionWrapHandler) -> Any:
    # exclude_none on the outside must not change what the spec says.
    return value.dump()


class TrainerConfig(ContractModel):
    """The whole input of an attempt; travels base64-encoded in FINETUNE_CONFIG."""

    contract_version: int = CONTRACT_VERSION
    job: JobIdentity
    attempt: Annotated[int, Field(ge=1)]
    fingerprint: str
    """16 hexadecimal digits: the directory below `mounts.output`."""
    spec: Annotated[FineTuneJobSpec, WrapSerializer(only_what_was_set)]
    """The spec with every default filled in, but for those that only the trainer can resolve."""
    mounts: Mounts
    digests: dict[str, str] = Field(default_factory=dict)
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
