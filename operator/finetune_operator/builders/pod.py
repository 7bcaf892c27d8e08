"""The pod template of an attempt, within the restricted Pod Security Standard."""

from __future__ import annotations

from typing import Any

from finetune_api.trainer_contract import PROGRESS_PORT, TERMINATION_MESSAGE_PATH

from .. import names
from ..settings import Settings
from . import environment, mounts, placement
from .attempt import KUEUE, Attempt

PODSET = f"{KUEUE}podset-"
"""What Kueue reads from pods: the topology that they want, and the size of the slices that share a part of it."""
GRACE_SECONDS = 300


def template(attempt: Attempt, settings: Settings) -> dict[str, Any]:
    """`spec.template` of the Job."""
    overlay = attempt.overlay
    placing = {key: value for key, value in attempt.annotations.items() if key.startswith(PODSET)}
    annotations = {**(overlay.annotations or {}), **placing}
    labels = {
        **(overlay.labels or {}),
        **names.labels(attempt.name),
        names.ATTEMPT_LABEL: str(attempt.number),
    }
    metadata = {"labels": labels, **({"annotations": annotations} if annotations else {})}
    return {"metadata": metadata, "spec": _spec(attempt, settings)}


def _spec(attempt: Attempt, settings: Settings) -> dict[str, Any]:
    overlay, checkpoint = attempt.overlay, attempt.spec.checkpoint
    grace = checkpoint.grace_period_seconds if checkpoint else None
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace or GRACE_SECONDS,
        "securityContext": _pod_security(attempt, settings),
        "tolerations": placement.tolerations(attempt),
        "containers": [_container(attempt, settings)],
        "volumes": mounts.volumes(attempt),
    }
    if attempt.nodes > 1:
        spec["subdomain"] = names.service_name(attempt.name)
    document = overlay.dump()
    for field in ("serviceAccountName", "runtimeClassName", "imagePullSecrets"):
        if field in document:
            spec[field] = document[field]
    return {**spec, **placement.build(attempt)}


def _container(attempt: Attempt, settings: Settings) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": names.CONTAINER,
        "image": attempt.image,
        "env": environment.build(attempt),
        "ports": [{"name": "progress", "containerPort": PROGRESS_PORT, "protocol": "TCP"}],
        "resources": _resources(attempt),
        "terminationMessagePath": TERMINATION_MESSAGE_PATH,
        "terminationMessagePolicy": "File",
        "volumeMounts": mounts.volume_mounts(attempt),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
    }
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    return container


def _resources(attempt: Attempt) -> dict[str, Any]:
    """Requests equal limits: a trainer that is throttled or killed for memory it was lent helps nobody."""
    compute = attempt.compute
    wanted = {
        "cpu": compute.cpu,
        "memory": compute.memory,
        "ephemeral-storage": compute.ephemeral_storage,
        **(compute.extra_resources or {}),
    }
    if attempt.gpus:
        wanted[compute.gpu_resource or "nvidia.com/gpu"] = str(attempt.gpus)
    asked = {name: amount for name, amount in wanted.items() if amount is not None}
    return {"requests": dict(asked), "limits": dict(asked)}


def _pod_security(attempt: Attempt, settings: Settings) -> dict[str, Any]:
    own = attempt.overlay.security_context
    ids: dict[str, Any] = {
        "runAsUser": settings.run_as_user,
        "runAsGroup": settings.run_as_group,
        "fsGroup": settings.fs_group,
        **(own.dump() if own else {}),
    }
    context = {name: value for name, value in ids.items() if value is not None}
    if "fsGroup" in context:
        context["fsGroupChangePolicy"] = "OnRootMismatch"
    return {**context, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
