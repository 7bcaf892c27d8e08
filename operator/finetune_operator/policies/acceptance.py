"""Whether a job may start at all: what this version cannot do and the platform does not allow; no look outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from finetune_api.v1alpha1.defaults import Resolution
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.support import unsupported

from ..builders.attempt import KUEUE
from ..settings import Settings

_IN_PARTS = (f"{KUEUE}job-min-parallelism", f"{KUEUE}elastic-job")


def in_parts(annotations: dict[str, str]) -> tuple[str, str] | None:
    """Reason and message where Kueue is asked to start some of the nodes: those would wait for the others for ever."""
    asked = [name for name in _IN_PARTS if name in annotations]
    if not asked:
        return None
    return "StartsWhole", (
        f"annotation {asked[0]}: all nodes of a job start together, or none; take it away, and write a smaller "
        "spec.compute.nodes where fewer will do"
    )


def refusal(spec: FineTuneJobSpec, resolution: Resolution, settings: Settings) -> tuple[str, str] | None:
    """Reason and message for Accepted=False, or None. The same answer until the spec or the settings change."""
    problems = unsupported(spec)
    if problems:
        return "NotYetSupported", "; ".join(str(problem) for problem in problems)[:1024]
    forbidden = "; ".join(_forbidden(spec, resolution.spec, settings))
    if forbidden:
        return "NotAllowed", forbidden[:1024]
    storage = resolution.spec.storage
    if storage is None or (storage.claim is None and storage.size is None):
        return "StorageRequired", (
            "spec.storage: write size, or claim with the name of an existing PersistentVolumeClaim; this platform has "
            "no default size"
        )
    return None


def _forbidden(spec: FineTuneJobSpec, resolved: FineTuneJobSpec, settings: Settings) -> Iterator[str]:
    document = spec.dump()
    if spec.model.trust_remote_code and not settings.allow_remote_code:
        yield "spec.model.trustRemoteCode: this platform runs no code of model repositories; leave it out"
    if spec.script is not None and not settings.allow_user_code:
        yield "spec.script: this platform runs no scripts of users; leave it out"
    rewards = document.get("reinforcement", {}).get("rewards", ())
    if not settings.allow_user_code and any(reward["name"] == "Custom" for reward in rewards):
        yield "spec.reinforcement.rewards: this platform runs no reward functions of users; use the built-in ones"
    image = spec.compute.image if spec.compute else None
    if image and settings.allowed_images and not image.startswith(tuple(settings.allowed_images)):
        yield f"spec.compute.image: {image} is not allowed; use one of {', '.join(settings.allowed_images)}"
    compute = resolved.compute
    gpus = (compute.nodes or 1) * (compute.gpus_per_node or 0) if compute else 0
    if settings.maximum_gpus_per_job is not None and gpus > settings.maximum_gpus_per_job:
        yield f"spec.compute: {gpus} GPUs are more than the {settings.maximum_gpus_per_job} that a job may have here"
    if settings.allowed_hub_owners:
        for field, hub_id in _hub_ids(document, "spec"):
            if hub_id.split("/")[0] not in settings.allowed_hub_owners:
                yield f"{field}: {hub_id} is not allowed; owners allowed here: {', '.join(settings.allowed_hub_owners)}"


def _hub_ids(value: Any, field: str) -> Iterator[tuple[str, str]]:
    """Every `hub.id` in a document, with its field."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _hub_ids(item, f"{field}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "hub" and isinstance(item, dict) and "id" in item:
                yield f"{field}.hub.id", item["id"]
            else:
                yield from _hub_ids(item, f"{field}.{key}")
