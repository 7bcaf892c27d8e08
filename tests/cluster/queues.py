"""Kueue for one test: the real one where `FINETUNE_KUEUE` names a release, else one that plays its protocol on Jobs.

Both have a queue `team` with room for one CPU, whose nodes have labels of their own, and let somebody of higher
priority take that room and leave it again. Kueue alone writes a child's spec.suspend.
"""

from typing import Any, Protocol

import yaml
from kubernetes import client

from tests.cluster.control_plane import ControlPlane
from tests.cluster.waiting import until

QUEUE = {"kueue.x-k8s.io/queue-name": "team", "kueue.x-k8s.io/priority-class": "low"}
NODES = {"pool": "reserved"}
"""Labels of the nodes of the played queue."""
_VERSION = "kueue.x-k8s.io/v1beta2"
_JOB_UID = "kueue.x-k8s.io/job-uid"


class Queue(Protocol):
    """What a test asks of Kueue."""

    reason: str
    """Part of what is said of a Job that waits for room."""

    def occupy(self) -> None:
        """Somebody of higher priority takes the room; a Job of lower priority that has it is stopped."""

    def take(self, child: str) -> None:
        """Waits for a Job that is made while there is no room, and holds it before a pod of it is made."""

    def free(self, child: str) -> None:
        """The room is free, and the Job that waits for it goes on."""


class PlayedQueue:
    """Suspends a child Job and lets it go on, as Kueue's controller does."""

    reason = "suspended by its queue"

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._batch = client.BatchV1Api(api)
        self._namespace = namespace

    def occupy(self) -> None:
        for job in self._batch.list_namespaced_job(self._namespace).items:
            self._patch(job.metadata.name, {"suspend": True})

    def take(self, child: str) -> None:
        until(lambda: child in self._jobs(), f"the Job {child}")
        self._patch(child, {"suspend": True})

    def free(self, child: str) -> None:
        until(lambda: not self._is_active(child), f"the pods of {child} to be told to end")
        self._patch(child, {"template": {"spec": {"nodeSelector": NODES}}})
        self._patch(child, {"suspend": False})

    def _jobs(self) -> list[str]:
        return [job.metadata.name for job in self._batch.list_namespaced_job(self._namespace).items]

    def _is_active(self, child: str) -> bool:
        """Kueue's own measure: pods that are under deletion do not count."""
        return bool(self._batch.read_namespaced_job(child, self._namespace).status.active)

    def _patch(self, child: str, spec: dict[str, Any]) -> None:
        self._batch.patch_namespaced_job(child, self._namespace, {"spec": spec})


class RealQueue:
    """A LocalQueue of a running Kueue; the somebody else is a Workload of its own that no Job stands behind."""

    reason = "insufficient unused quota for cpu"

    def __init__(
        self, plane: ControlPlane, namespace: str, nodes: dict[str, str], *, cpu: int = 1, topology: str | None = None
    ) -> None:
        """`nodes`: the labels of those that the queue's jobs are placed on; `cpu`: its room; `topology`: the label by
        which the nodes are told to be near to one another."""
        self._plane = plane
        self._namespace = namespace
        self._name = f"team-{namespace}"
        self._nodes = nodes
        self._cpu = cpu
        self._topology = topology
        self._apply(*self._cluster_objects(), self._object("LocalQueue", "team", {"clusterQueue": self._name}))

    def occupy(self) -> None:
        template = {
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "c", "image": "none", "resources": {"requests": {"cpu": "1"}}}],
            }
        }
        spec = {
            "queueName": "team",
            "podSets": [{"name": "main", "count": 1, "template": template}],
            "priority": 1000,
        }
        self._apply(self._object("Workload", "somebody", spec))
        until(lambda: self._condition("somebody", "Admitted") == "True", "somebody else's Workload to be admitted")

    def take(self, child: str) -> None:
        held = "jsonpath={.spec.suspend}"
        until(lambda: self._kubectl("get", "job", child, "-o", held, check=False) == "true", f"the Job {child}")

    def free(self, child: str) -> None:
        self._kubectl("delete", "workload", "somebody", "--wait=false")
        self._kubectl("wait", "--for=jsonpath={.spec.suspend}=false", f"job/{child}", "--timeout=30s")

    def remove(self) -> None:
        """The cluster's part of it; the rest goes with the namespace."""
        made = [f"{kind}/{self._name}" for kind in ("clusterqueue", "resourceflavor", "topology")]
        self._plane.kubectl("delete", "--wait=false", "--ignore-not-found", *made)

    def _cluster_objects(self) -> list[dict[str, Any]]:
        quota = [{"name": "cpu", "nominalQuota": str(self._cpu)}, {"name": "memory", "nominalQuota": "100Gi"}]
        flavors = [{"name": self._name, "resources": quota}]
        queue = {
            "namespaceSelector": {},
            "resourceGroups": [{"coveredResources": ["cpu", "memory"], "flavors": flavors}],
            "preemption": {"withinClusterQueue": "LowerPriority"},
        }
        low = self._object("WorkloadPriorityClass", "low") | {"value": 1, "description": "may be stopped"}
        made = [low, self._object("ClusterQueue", self._name, queue)]
        if self._topology is None:
            return [*made, self._object("ResourceFlavor", self._name, {"nodeLabels": self._nodes})]
        levels = [{"nodeLabel": label} for label in (self._topology, "kubernetes.io/hostname")]
        flavor = {"nodeLabels": self._nodes, "topologyName": self._name}
        return [
            *made,
            self._object("Topology", self._name, {"levels": levels}),
            self._object("ResourceFlavor", self._name, flavor),
        ]

    def _object(self, kind: str, name: str, spec: dict[str, Any] | None = None) -> dict[str, Any]:
        made: dict[str, Any] = {"apiVersion": _VERSION, "kind": kind, "metadata": {"name": name}}
        return made | ({"spec": spec} if spec else {})

    def _condition(self, workload: str, kind: str) -> str:
        path = f"jsonpath={{.status.conditions[?(@.type=='{kind}')].status}}"
        return self._kubectl("get", "workload", workload, "-o", path, check=False)

    def _apply(self, *documents: dict[str, Any]) -> None:
        self._kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(documents))

    def _kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return self._plane.kubectl("-n", self._namespace, *arguments, stdin=stdin, check=check)
