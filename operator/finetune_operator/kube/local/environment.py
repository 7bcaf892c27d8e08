"""The environment of a pod's process: what the pod template says, with the paths, ports and devices of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune_api.trainer_contract import CONFIG_VARIABLE, Adaptation, TrainerConfig

from .volumes import MountedPaths

TERMINATION_MESSAGE = "FINETUNE_TERMINATION_MESSAGE"
GANG_PORT = "FINETUNE_GANG_PORT"
_FIELD = re.compile(r"^metadata\.(annotations|labels)\['(.+)'\]$")


@dataclass(frozen=True)
class Place:
    """What this machine gives one pod."""

    paths: MountedPaths
    termination_message: Path
    master_port: int
    gang_port: int
    """Where the supervisors of several nodes speak to one another."""
    progress_port: int
    """0: this pod serves none."""
    gpus: int
    """Devices of this machine that one node of the attempt may use."""


def of(pod: Mapping[str, Any], place: Place) -> dict[str, str]:
    """The whole environment, this process's own underneath (its HOME, PATH, tokens and caches are the person's)."""
    made = dict(os.environ)
    for variable in pod["spec"]["containers"][0].get("env") or ():
        value = _value(variable, pod["metadata"])
        if value is not None and variable["name"] != "HOME":
            made[variable["name"]] = place.paths.translate(value)
    config = localized(TrainerConfig.decode(made[CONFIG_VARIABLE]), place)
    made[CONFIG_VARIABLE] = config.encode()
    made["PET_NPROC_PER_NODE"] = str(config.world.processes_per_node)
    made["PET_MASTER_ADDR"] = "127.0.0.1"
    made["PET_MASTER_PORT"] = str(place.master_port)
    made[GANG_PORT] = str(place.gang_port)
    made[TERMINATION_MESSAGE] = str(place.termination_message)
    ranks = config.world.nodes * config.world.processes_per_node
    made.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // ranks)))
    made.setdefault("PYTHONUNBUFFERED", "1")
    return made


def localized(config: TrainerConfig, place: Place) -> TrainerConfig:
    """The configuration with directories, devices and addresses of this machine.

    Fewer devices than asked for: the effective batch is kept by accumulating more, where that divides.
    """
    mounts = config.mounts
    here = mounts.model_copy(
        update={
            "output": place.paths.translate(mounts.output),
            "claims": {name: place.paths.translate(path) for name, path in mounts.claims.items()},
            "config_maps": {name: place.paths.translate(path) for name, path in mounts.config_maps.items()},
            "jobs": {name: place.paths.translate(path) for name, path in mounts.jobs.items()},
        }
    )
    asked = config.world.processes_per_node
    processes = asked if config.world.device == "CPU" else max(1, min(asked, place.gpus))
    device = config.world.device if config.world.device == "CPU" or place.gpus else "Auto"
    return config.model_copy(
        update={
            "mounts": here,
            "world": config.world.model_copy(update={"processes_per_node": processes, "device": device}),
            "adaptation": _accumulated(config, asked, processes),
            "progress_port": place.progress_port,
            "progress_host": "127.0.0.1",
        }
    )


def _accumulated(config: TrainerConfig, asked: int, processes: int) -> Adaptation:
    values = config.spec.hyperparameters
    steps = config.adaptation.gradient_accumulation_steps or (values.gradient_accumulation_steps if values else None)
    if processes == asked or asked % processes:
        return config.adaptation
    return config.adaptation.model_copy(update={"gradient_accumulation_steps": (steps or 1) * asked // processes})


def _value(variable: Mapping[str, Any], metadata: Mapping[str, Any]) -> str | None:
    """None where it is for a Secret to say: the person's own environment may hold it."""
    if "value" in variable:
        return str(variable["value"])
    field = (variable.get("valueFrom") or {}).get("fieldRef", {}).get("fieldPath", "")
    found = _FIELD.match(field)
    return (metadata.get(found.group(1)) or {}).get(found.group(2)) if found else None
