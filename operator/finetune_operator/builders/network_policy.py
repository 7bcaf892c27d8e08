"""The NetworkPolicy of a job: its own pods, DNS, and the internet's 443 only where the job needs it.

It stays until the last pod has gone, also where the FineTuneJob is deleted while its pods have their grace: it goes in
the foreground, each attempt's Job is one of its own, and goes after its pods. Garbage collection does all of that.
"""

from __future__ import annotations

from typing import Any

from finetune_api.trainer_contract import PROGRESS_PORT

from .. import names
from ..settings import Settings
from .attempt import FOREGROUND, Attempt

_NAMESPACE = "kubernetes.io/metadata.name"
# Node-local DNS caches listen here, outside every pod network.
_NODE_LOCAL_DNS = "169.254.0.0/16"


def build(attempt: Attempt, settings: Settings) -> dict[str, Any]:
    """A NetworkPolicy for the pods of all attempts of the job."""
    dns = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    egress: list[dict[str, Any]] = [
        {"to": [{"namespaceSelector": {}}, {"ipBlock": {"cidr": _NODE_LOCAL_DNS}}], "ports": dns},
        {"to": [_own(attempt)]},
    ]
    if _needs_internet(attempt.document) or any(job.hub for job in attempt.jobs):
        egress.append({"to": _internet(settings), "ports": [{"port": 443, "protocol": "TCP"}]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {**attempt.metadata(attempt.name), "finalizers": [FOREGROUND]},
        "spec": {
            **_own(attempt),
            "policyTypes": ["Ingress", "Egress"],
            "egress": egress,
            "ingress": [
                {"from": [_own(attempt)]},
                {"from": _observers(settings), "ports": [{"port": PROGRESS_PORT, "protocol": "TCP"}]},
            ],
        },
    }


def outlasting(policy: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """The document of a Job that a policy outlasts; the policy is as the API server has it."""
    owner = {key: policy[key] for key in ("apiVersion", "kind")}
    owner |= {"name": policy["metadata"]["name"], "uid": policy["metadata"]["uid"], "blockOwnerDeletion": True}
    metadata = job["metadata"]
    return {**job, "metadata": {**metadata, "ownerReferences": [*metadata["ownerReferences"], owner]}}


def _own(attempt: Attempt) -> dict[str, Any]:
    """The job's pods. Made anew each time, so that no part of a document is shared: YAML would print anchors."""
    return {"podSelector": {"matchLabels": {names.JOB_LABEL: attempt.name}}}


def _observers(settings: Settings) -> list[dict[str, Any]]:
    """The operator, and whatever scrapes metrics."""
    operator = {
        "namespaceSelector": {"matchLabels": {_NAMESPACE: settings.operator_namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": names.MANAGER}},
    }
    monitoring = [
        {"namespaceSelector": {"matchLabels": {_NAMESPACE: namespace}}} for namespace in settings.monitoring_namespaces
    ]
    return [operator, *monitoring]


def _internet(settings: Settings) -> list[dict[str, Any]]:
    """Both families without the platform's blocked ranges."""
    blocks = []
    for everything, version in (("0.0.0.0/0", 4), ("::/0", 6)):
        block: dict[str, Any] = {"cidr": everything}
        blocked = [str(network) for network in settings.blocked_ranges if network.version == version]
        if blocked:
            block["except"] = blocked
        blocks.append({"ipBlock": block})
    return blocks


def _needs_internet(value: Any) -> bool:
    """Whether anything in the spec names the hub, a tracker or a push."""
    if isinstance(value, list):
        return any(_needs_internet(item) for item in value)
    if isinstance(value, dict):
        return any(key in ("hub", "wandb", "mlflow") or _needs_internet(item) for key, item in value.items())
    return False
