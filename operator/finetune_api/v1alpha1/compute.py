"""Nodes, devices, memory and how the processes share the work."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Int, NonNegativeInt, NullsDropped, PositiveInt, SpecModel
from .quantities import Quantity, ResourceName


class FSDP(SpecModel):
    """Settings of fully sharded data parallelism."""

    sharding: Literal["FullShard", "ShardGradOp"] | None = None
    cpu_offload: bool | None = None


class DeepSpeed(SpecModel):
    """Settings of DeepSpeed ZeRO."""

    stage: Annotated[Int, Field(ge=1, le=3)] | None = None
    offload_optimizer: bool | None = None
    offload_parameters: bool | None = None


class Compute(SpecModel):
    """Nodes, devices and memory."""

    nodes: Annotated[PositiveInt, Field(le=1024)] | None = None
    gpus_per_node: Annotated[NonNegativeInt, Field(le=64)] | None = None
    """Devices a node; 0 means CPU with one process a node."""
    gpu_resource: ResourceName | None = None
    cpu: Quantity | None = None
    memory: Quantity | None = None
    ephemeral_storage: Quantity | None = None
    shared_memory: Quantity | None = None
    extra_resources: Annotated[dict[str, Quantity], Field(min_length=1, max_length=16), NullsDropped] | None = None
    strategy: Literal["Auto", "Single", "DDP", "FSDP", "DeepSpeed", "Unsloth"] | None = None
    fsdp: FSDP | None = None
    deepspeed: DeepSpeed | None = None
    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._:/@]*$")] | None = None
