"""What the processes of an attempt learn from their environment: the configuration and their place."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from finetune_api.trainer_contract import (
    CONFIG_VARIABLE,
    CONTRACT_VERSION,
    GANG_TOKEN_VARIABLE,
    TERMINATION_MESSAGE_PATH,
    TrainerConfig,
)

from .errors import ConfigError

CONFIG_FILE_VARIABLE = "FINETUNE_CONFIG_FILE"
TERMINATION_MESSAGE_VARIABLE = "FINETUNE_TERMINATION_MESSAGE"
SCRATCH_VARIABLE = "FINETUNE_SCRATCH"
RUN_VARIABLE = "FINETUNE_RUN"
SUPERVISOR_VARIABLE = "FINETUNE_SUPERVISOR"
"""Process number of who started the rank and watches it."""
GANG_PORT_VARIABLE = "FINETUNE_GANG_PORT"
DEFAULT_PORT = 29500


def read_config() -> TrainerConfig:
    """The configuration of FINETUNE_CONFIG (base64 JSON) or of the file that FINETUNE_CONFIG_FILE names (JSON or
    base64 JSON). Raises ConfigError."""
    text = os.environ.get(CONFIG_VARIABLE)
    source = CONFIG_VARIABLE
    if not text:
        source = os.environ.get(CONFIG_FILE_VARIABLE, "")
        if not source:
            raise ConfigError(
                f"Neither {CONFIG_VARIABLE} nor {CONFIG_FILE_VARIABLE} is set.",
                "The operator and `finetune run` set them; by hand, name a file that `finetune render` wrote.",
            )
        try:
            text = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"The configuration {source} cannot be read: {error.strerror}.") from error
    try:
        stripped = text.strip()
        config = TrainerConfig.load(stripped) if stripped.startswith("{") else TrainerConfig.decode(stripped)
    except ValueError as error:
        raise ConfigError(f"{source} holds no trainer configuration: {error}") from error
    if config.contract_version > CONTRACT_VERSION:
        raise ConfigError(
            f"The configuration has contract version {config.contract_version}, this trainer {CONTRACT_VERSION}.",
            "Use a trainer image that is as new as the operator (compute.image or the operator's setting).",
        )
    return config


def termination_message_path() -> Path:
    """Where the termination message goes."""
    return Path(os.environ.get(TERMINATION_MESSAGE_VARIABLE) or TERMINATION_MESSAGE_PATH)


@dataclass(frozen=True)
class Place:
    """The place of a node among the nodes of the attempt, as torchrun's PET_* variables say it."""

    node: int
    nodes: int
    processes_per_node: int
    master_address: str
    master_port: int
    gang_port: int = 0
    """Where the supervisor of node 0 listens for those of the others; beside the port on which the ranks meet."""
    gang_token: str = field(default="", repr=False)
    """By which they know one another."""

    @property
    def world_size(self) -> int:
        return self.nodes * self.processes_per_node

    @classmethod
    def of(cls, config: TrainerConfig) -> Place:
        """PET_* override the configuration; the node's rank may come from the Indexed Job. Raises ConfigError."""
        node = os.environ.get("PET_NODE_RANK") or os.environ.get("JOB_COMPLETION_INDEX") or "0"
        try:
            place = cls(
                node=int(node),
                nodes=int(os.environ.get("PET_NNODES") or config.world.nodes),
                processes_per_node=int(os.environ.get("PET_NPROC_PER_NODE") or config.world.processes_per_node),
                master_address=os.environ.get("PET_MASTER_ADDR") or "127.0.0.1",
                master_port=(port := int(os.environ.get("PET_MASTER_PORT") or DEFAULT_PORT)),
                gang_port=int(os.environ.get(GANG_PORT_VARIABLE) or port + 1),
                gang_token=os.environ.get(GANG_TOKEN_VARIABLE, ""),
            )
        except ValueError as error:
            raise ConfigError(f"A PET_ variable or {GANG_PORT_VARIABLE} is no number: {error}") from error
        if place.node >= place.nodes:
            raise ConfigError(f"Node {place.node} does not belong to an attempt of {place.nodes} nodes.")
        if place.nodes > 1 and "PET_MASTER_ADDR" not in os.environ:
            raise ConfigError(
                f"An attempt of {place.nodes} nodes needs PET_MASTER_ADDR.", "Set it to the address of node 0."
            )
        return place
