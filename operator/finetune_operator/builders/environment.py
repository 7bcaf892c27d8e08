"""The environment of the trainer's container: configuration, torchrun's variables, named Secrets, the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from finetune_api.trainer_contract import (
    CONFIG_VARIABLE,
    GANG_TOKEN_VARIABLE,
    MAXIMUM_CONFIG_BYTES,
    JobIdentity,
    TrainerConfig,
    World,
)

from .. import names
from ..errors import ConfigurationTooLargeError
from .attempt import Attempt
from .mounts import HOME, for_trainer
from .service import MASTER_PORT


def config(attempt: Attempt) -> TrainerConfig:
    """The whole input of the attempt."""
    return TrainerConfig(
        job=JobIdentity(name=attempt.name, namespace=attempt.namespace, uid=attempt.uid),
        attempt=attempt.number,
        fingerprint=attempt.fingerprint,
        spec=attempt.spec,
        mounts=for_trainer(attempt),
        digests={job.name: job.digest for job in attempt.jobs if job.digest},
        world=World(
            nodes=attempt.nodes,
            processes_per_node=max(1, attempt.gpus),
            device="CUDA" if attempt.gpus else "CPU",
        ),
        adaptation=attempt.adaptation,
        diverged_at=attempt.diverged_at,
        image=attempt.image,
    )


def build(attempt: Attempt) -> list[dict[str, Any]]:
    """The container's `env`. Raises ConfigurationTooLargeError."""
    encoded = config(attempt).encode()
    if len(encoded) > MAXIMUM_CONFIG_BYTES:
        raise ConfigurationTooLargeError(
            f"spec: the resolved job takes {len(encoded)} bytes and a pod may carry {MAXIMUM_CONFIG_BYTES}; move long "
            "texts (systemMessage, prompts) into a ConfigMap or name fewer sources"
        )
    made = [{"name": CONFIG_VARIABLE, "value": encoded}, {"name": "HOME", "value": HOME}]
    made += [{"name": name, "value": value} for name, value in _torchrun(attempt).items()]
    made.append(_of_pod("PET_NODE_RANK", f"metadata.annotations['{names.COMPLETION_INDEX}']"))
    if attempt.nodes > 1:
        made.append(_of_pod(GANG_TOKEN_VARIABLE, f"metadata.labels['{names.CONTROLLER_UID}']"))
    return [*made, *_secrets(attempt), *_users(attempt)]


def _of_pod(name: str, path: str) -> dict[str, Any]:
    """A variable with what the API server and the Job controller give each pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _torchrun(attempt: Attempt) -> dict[str, str]:
    several = attempt.nodes > 1
    return {
        "PET_NNODES": str(attempt.nodes),
        "PET_NPROC_PER_NODE": str(max(1, attempt.gpus)),
        "PET_MASTER_ADDR": f"{attempt.child}-0.{names.service_name(attempt.name)}" if several else "localhost",
        "PET_MASTER_PORT": str(MASTER_PORT),
    }


def _secrets(attempt: Attempt) -> Iterator[dict[str, Any]]:
    """Only Secrets that the spec names; the kubelet reads them, never the operator."""
    of_jobs = (job.token_secret.dump() for job in attempt.jobs if job.token_secret)
    token = next(chain(of_jobs, _tokens(attempt.document)), None)
    if token is not None:
        yield {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": token["name"], "key": token["key"]}}}


def _tokens(value: Any) -> Iterator[dict[str, str]]:
    """Tokens for reading from the hub, the model's first. Those for pushing are not among them."""
    if isinstance(value, list):
        for item in value:
            yield from _tokens(item)
    elif isinstance(value, dict):
        for name in sorted(value, key=lambda key: key != "model"):
            item = value[name]
            if name == "tokenSecret":
                yield item
            elif name not in ("push", "podTemplate"):
                yield from _tokens(item)


def _users(attempt: Attempt) -> Iterator[dict[str, Any]]:
    for variable in attempt.overlay.env or ():
        yield {"name": variable.name, "value": variable.value}
