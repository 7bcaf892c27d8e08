"""Builds FineTuneJob manifests for tests; knows nothing of statuses or of clusters."""

from __future__ import annotations

import copy
from typing import Any


class JobManifest:
    """A FineTuneJob to be, small and valid; each method gives a changed copy.

    It reads the claims `models` and `datasets`, writes to `results`, and asks for no GPU.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    def named(self, name: str) -> JobManifest:
        return self._with_metadata(name=name)

    def labelled(self, **labels: str) -> JobManifest:
        return self._with_metadata(labels=labels)

    def on_nodes(self, nodes: int) -> JobManifest:
        return self.with_spec(compute={**self.document["spec"].get("compute", {}), "nodes": nodes})

    def computing(self, **fields: Any) -> JobManifest:
        """A copy with these fields of spec.compute, beside those that it has."""
        return self.with_spec(compute={**self.document["spec"].get("compute", {}), **fields})

    def with_pods(self, **fields: Any) -> JobManifest:
        """A copy with these fields of spec.podTemplate, beside those that it has."""
        return self.with_spec(podTemplate={**self.document["spec"].get("podTemplate", {}), **fields})

    def placed_on(self, node: str) -> JobManifest:
        """A copy that runs on this node only."""
        return self.with_pods(nodeSelector={"kubernetes.io/hostname": node})

    def preferring(self, node: str) -> JobManifest:
        """A copy that runs on this node while it can."""
        term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        preference = {"weight": 100, "preference": {"matchExpressions": [term]}}
        return self.with_pods(
            affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}}
        )

    def suspended(self, value: bool = True) -> JobManifest:
        return self.with_spec(suspend=value)

    def cancelled(self) -> JobManifest:
        return self.with_spec(cancel=True)

    def retrying(self, **policy: Any) -> JobManifest:
        return self.with_spec(retryPolicy=policy)

    def with_spec(self, **fields: Any) -> JobManifest:
        """A copy with these fields of the spec; None takes one out."""
        made = copy.deepcopy(self.document)
        for name, value in fields.items():
            if value is None:
                made["spec"].pop(name, None)
            else:
                made["spec"][name] = value
        return JobManifest(made)

    def _with_metadata(self, **fields: Any) -> JobManifest:
        made = copy.deepcopy(self.document)
        made["metadata"].update(fields)
        return JobManifest(made)


def a_manifest() -> JobManifest:
    """The smallest job that runs on an existing claim without a GPU."""
    return JobManifest(
        {
            "apiVersion": "finetune.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": "python-coder"},
            "spec": {
                "model": {"claim": {"name": "models", "path": "tiny-llama"}},
                "dataset": {"sources": [{"claim": {"name": "datasets", "path": "train.jsonl"}}]},
                "storage": {"claim": {"name": "results"}},
                "compute": {"gpusPerNode": 0},
            },
        }
    )


def claims(*names: str) -> list[dict[str, Any]]:
    """PersistentVolumeClaims that nothing binds: enough where no kubelet runs."""
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        for name in names or ("models", "datasets", "results")
    ]
