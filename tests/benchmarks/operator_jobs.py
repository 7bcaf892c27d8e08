"""Makes the two kinds of job that the benchmarks compare, and sees to it that their pods are alike; creates none."""

from __future__ import annotations

import copy
from typing import Any

Document = dict[str, Any]
_ADDED_BY_KUBERNETES = (
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
)


def fine_tune_job(name: str, label: str | None = None) -> Document:
    """A FineTuneJob on existing claims that asks for no GPU; `label` says how kwok plays its pods (see its stages)."""
    spec: Document = {
        "model": {"claim": {"name": "models", "path": "tiny-llama"}},
        "dataset": {"sources": [{"claim": {"name": "datasets", "path": "python-instructions/train.jsonl"}}]},
        "storage": {"claim": {"name": "results"}},
        "compute": {"gpusPerNode": 0, "cpu": "1", "memory": "1Gi"},
    }
    if label:
        spec["podTemplate"] = {"labels": {"benchmark": label}}
    return {"apiVersion": "finetune.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": name}, "spec": spec}


def plain_job(child: Document, name: str) -> Document:
    """A Job with the pods of a FineTuneJob's child, without what tells the operator that it is its own."""
    spec = copy.deepcopy(child["spec"])
    spec.pop("selector", None)
    labels = spec["template"]["metadata"].get("labels", {})
    spec["template"]["metadata"]["labels"] = {
        key: value
        for key, value in labels.items()
        if key not in _ADDED_BY_KUBERNETES and not key.startswith(("finetune.dev/", "app.kubernetes.io/"))
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
