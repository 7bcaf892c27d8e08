"""The claim for results and checkpoints, for jobs that bring none of their own."""

from __future__ import annotations

from typing import Any

from finetune_api.v1alpha1.storage import Storage

from .attempt import Attempt


def build(attempt: Attempt) -> dict[str, Any]:
    """A PersistentVolumeClaim. One that is retained has no owner: it outlives the job, and the next of its name."""
    storage = attempt.spec.storage or Storage()
    spec: dict[str, Any] = {
        "accessModes": [storage.access_mode or "ReadWriteOnce"],
        "resources": {"requests": {"storage": storage.size}},
    }
    if storage.storage_class_name is not None:
        spec["storageClassName"] = storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": attempt.metadata(attempt.claim, owned=storage.retain is False),
        "spec": spec,
    }
