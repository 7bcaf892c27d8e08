"""Nodes, devices, memory and how the processes share the work."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Int, NonNegativeInt, NullsDropped, PositiveInt, SpecModel
from .quantities import Quantity, ResourceName


class FSDP(SpecModel):
    """Settings of fully sharded data parallelism."""

    sharding: Literal["FullShard", "ShardGradOp"] | None = None
    """Whether parameters are sharded too, or only gradients and optimizer states."""
    cpu_offload: bool | None = None
    """Keep what is sharded in the memory of the host."""


class DeepSpeed(SpecModel):
    """Settings of DeepSpeed ZeRO."""

    stage: Annotated[Int, Field(ge=1, le=3)] | None = None
    """1 shards optimizer states, 2 gradients too, 3 parameters too."""
    offload_optimizer: bool | None = None
    """Keep optimizer states in the memory of the host."""
    offload_parameters: bool | None = None
    """Keep parameters in the memory of the host; stage 3 only."""


class Compute(SpecModel):
    """Nodes, devices and memory."""

    nodes: Annotated[PositiveInt, Field(le=1024)] | None = None
    """How many pods, each on a node with the same devices."""
    gpus_per_node: Annotated[NonNegativeInt, Field(le=64)] | None = None
    """Devices a node; 0 means CPU with one process a node."""
    gpu_resource: ResourceName | None = None
    """The resource that a GPU is asked for by, for example amd.com/gpu."""
    cpu: Quantity | None = None
    """Cores of each pod."""
    memory: Quantity | None = None
    """Memory of each pod."""
    ephemeral_storage: Quantity | None = None
    """Local disk of each pod."""
    shared_memory: Quantity | None = None
    """Size of /dev/shm, which counts as memory."""
    extra_resources: Annotated[dict[str, Quantity], Field(min_length=1, max_length=16), NullsDropped] | None = None
    """Further resources of each pod, for example rdma/hca."""
    strategy: Literal["Auto", "Single", "DDP", "FSDP", "DeepSpeed", "Unsloth"] | None = None
    """How processes share the work; Auto chooses by the number of devices and the size of the model."""
    fsdp: FSDP | None = None
    """Settings of strategy FSDP."""
    deepspeed: DeepSpeed | None = None
    """Settings of strategy DeepSpeed."""
    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._:/@]*$")] | None = None
    """The trainer's image in place of the operator's."""
