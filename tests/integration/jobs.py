"""A FineTuneJob in a test's namespace: applies it, reads it, waits for what becomes of it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from kubernetes import client

from tests.builders.manifests import JobManifest
from tests.cluster.errors import ClusterError
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until

_GROUP, _VERSION, _PLURAL = "finetune.dev", "v1alpha1", "finetunejobs"

FINISHED: dict[str, Any] = {
    "step": 400,
    "totalSteps": 400,
    "checkpoint": {"latest": {"step": 400}, "count": 2},
    "metrics": {"eval_loss": 1.25},
    "output": {"path": "0123456789abcdef/output", "adapter": True, "bytes": 4096},
    "effective": {"precision": "FP32", "perDeviceBatchSize": 8},
}
"""What a trainer says of a finished attempt, identity and kind apart."""


JOB = "python-coder"
"""The name of `a_manifest()`."""


def running(jobs: "Jobs", pods: PodPlayer, attempt: int = 1) -> client.V1Pod:
    """The pod of an attempt of `a_manifest()`, once it runs and the operator knows."""
    (pod,) = pods.wait(job=f"{JOB}-{attempt}")
    pods.run(pod)
    until(lambda: jobs.status(JOB).get("attempt") == attempt, f"attempt {attempt}")
    jobs.wait(JOB, "Running")
    return pod


class Jobs:
    """FineTuneJobs and their child Jobs in one namespace."""

    def __init__(self, api: client.ApiClient, namespace: str, apply: Callable[..., Any]) -> None:
        self.namespace = namespace
        self._apply = apply
        self._custom = client.CustomObjectsApi(api)
        self._batch = client.BatchV1Api(api)
        self._core = client.CoreV1Api(api)
        self._networking = client.NetworkingV1Api(api)

    def apply(self, manifest: JobManifest) -> dict[str, Any]:
        made: dict[str, Any] = self._apply(manifest.document)
        return made

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._custom.get_namespaced_custom_object(
            _GROUP, _VERSION, self.namespace, _PLURAL, name
        )
        return found

    def status(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = self.get(name).get("status", {})
        return status

    def statuses(self) -> dict[str, dict[str, Any]]:
        """The statuses of all FineTuneJobs, by name."""
        found = self._custom.list_namespaced_custom_object(_GROUP, _VERSION, self.namespace, _PLURAL)
        return {item["metadata"]["name"]: item.get("status", {}) for item in found["items"]}

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        conditions = self.status(name).get("conditions", [])
        return next((condition for condition in conditions if condition["type"] == kind), {})

    def names(self) -> list[str]:
        """Names of the FineTuneJobs that are there."""
        found = self._custom.list_namespaced_custom_object(_GROUP, _VERSION, self.namespace, _PLURAL)
        return [item["metadata"]["name"] for item in found["items"]]

    def delete(self, name: str) -> None:
        self._custom.delete_namespaced_custom_object(_GROUP, _VERSION, self.namespace, _PLURAL, name)

    def children(self) -> list[str]:
        """Names of the child Jobs that are there, in order."""
        return sorted(job.metadata.name for job in self._batch.list_namespaced_job(self.namespace).items)

    def policies(self) -> list[str]:
        """Names of the NetworkPolicies that are there, those under deletion included."""
        return [
            policy.metadata.name for policy in self._networking.list_namespaced_network_policy(self.namespace).items
        ]

    def child(self, name: str) -> dict[str, Any]:
        """A child Job as a document."""
        answer = self._batch.read_namespaced_job(name, self.namespace, _preload_content=False)
        document: dict[str, Any] = json.loads(answer.data)
        return document

    def delete_child(self, name: str, policy: str = "Background") -> None:
        self._batch.delete_namespaced_job(name, self.namespace, propagation_policy=policy)

    @staticmethod
    def seconds_between(start: str, end: str) -> float:
        """Seconds between two moments of a status."""
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()

    @classmethod
    def seconds_since(cls, start: str) -> float:
        """Seconds since a moment of a status."""
        return cls.seconds_between(start, datetime.now(UTC).isoformat())

    def events(self, name: str) -> list[str]:
        """Reasons of the events about a job, oldest first."""
        answer = self._core.list_namespaced_event(
            self.namespace, field_selector=f"involvedObject.name={name}", _preload_content=False
        )
        events = json.loads(answer.data)["items"]
        return [event["reason"] for event in sorted(events, key=lambda event: event["eventTime"] or "")]

    def wait(self, name: str, phase: str, timeout: float = 30) -> dict[str, Any]:
        """Wait for a phase; returns the status."""

        def reached() -> dict[str, Any] | None:
            status = self.status(name)
            return status if status.get("phase") == phase else None

        try:
            found: dict[str, Any] = until(reached, f"{name} to be {phase}", timeout)
        except ClusterError as error:
            raise ClusterError(f"{error}; it is {json.dumps(self.status(name), indent=1)}") from None
        return found

    def wait_condition(self, name: str, kind: str, reason: str, timeout: float = 30) -> dict[str, Any]:
        """Wait until a condition has a reason; returns the condition."""

        def reached() -> dict[str, Any] | None:
            condition = self.condition(name, kind)
            return condition if condition.get("reason") == reason else None

        found: dict[str, Any] = until(reached, f"{kind} of {name} to say {reason}", timeout)
        return found

    def record(self, name: str, kind: str, attempt: int = 1, **fields: Any) -> dict[str, Any]:
        """A termination message of an attempt of this job."""
        uid = self.get(name)["metadata"]["uid"]
        return {"contractVersion": 1, "uid": uid, "attempt": attempt, "run": attempt, "kind": kind, **fields}
