"""Plays the part of a kubelet in tests that have none: writes pod status through the API; runs nothing."""

import itertools
import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import urllib3
from kubernetes import client, watch

from tests.cluster.errors import ClusterError

NODE = "played-node"
# Tests that run at the same time must not answer for one another's pods: a range for each process of pytest-xdist.
_RANGE = 20 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ADDRESSES = itertools.count(1)
_INDEX = "batch.kubernetes.io/job-completion-index"
_JOB = "batch.kubernetes.io/job-name"


class PodPlayer:
    """Lets the pods of one namespace run, succeed, fail or be evicted when a test says so.

    Pods under deletion end as a kubelet ends them: the container leaves with 143 (`terminate_with` changes
    that, `hold_terminating` puts it off) and the pod goes. Everything follows a watch; use it as a context.
    """

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self._core = client.CoreV1Api(api)
        self._pods: dict[str, client.V1Pod] = {}
        self._changed = threading.Condition(threading.RLock())
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"pods-{namespace}", daemon=True)
        self._player: Callable[[client.V1Pod], None] | None = None
        self._played: set[str] = set()
        self._ended: set[str] = set()
        self._hold = False
        self._end: tuple[int, str] = (143, "")

    def __enter__(self) -> "PodPlayer":
        create_played_node(self._core)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def wait(
        self, count: int = 1, *, job: str | None = None, running: bool | None = None, timeout: float = 30
    ) -> list[client.V1Pod]:
        """Wait until at least `count` pods are there that are neither ended nor under deletion.

        Args:
            count: how many; 0 waits for none to be left.
            job: only the pods of this Job.
            running: only pods whose phase is (not) Running.
            timeout: seconds; ClusterError afterwards, which lists what is there.

        Returns:
            The pods, in the order of their completion index, then of their names.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._enough(self._live(job, running), count), timeout):
                raise ClusterError(f"wanted {count} pods of {job or 'any job'}, have:\n{self._describe()}")
            return self._live(job, running)

    def wait_gone(self, pod: client.V1Pod, timeout: float = 30) -> None:
        """Wait until the pod is no longer in the API; ClusterError after `timeout` seconds."""
        uid = pod.metadata.uid
        with self._changed:
            if not self._changed.wait_for(lambda: uid not in self._pods, timeout):
                raise ClusterError(f"pod {pod.metadata.name} is still there:\n{self._describe()}")

    def always(self, player: Callable[[client.V1Pod], None]) -> None:
        """Call `player` once for every pod, those already there included; it may call any method here."""
        with self._changed:
            self._player = player
            for pod in list(self._pods.values()):
                self._act(pod)

    def hold_terminating(self) -> None:
        """Leave pods under deletion as they are, as a long grace period or a lost node does."""
        self._hold = True

    def release_terminating(self) -> None:
        """End what `hold_terminating` kept."""
        with self._changed:
            self._hold = False
            for pod in list(self._pods.values()):
                self._act(pod)

    def terminate_with(self, exit_code: int, message: str | dict[str, Any] = "") -> None:
        """Choose how the container of a deleted pod leaves, here on."""
        self._end = (exit_code, _text(message))

    def run(self, pod: client.V1Pod, ip: str | None = None, node: str = NODE) -> str:
        """Bind the pod to a node, which is made if need be, and let its container run; return the pod's address.

        The address, if none is given, is the pod's own in 127.0.0.0/8, where a test may serve (Linux).
        """
        ip = ip or self._address()
        if node != NODE:
            create_played_node(self._core, node)
        self._bind(pod, node)
        self._patch(
            pod,
            phase="Running",
            podIP=ip,
            podIPs=[{"ip": ip}],
            startTime=_now(),
            conditions=[_condition(kind, "True") for kind in ("Initialized", "ContainersReady", "Ready")],
            containerStatuses=[_container(pod, {"running": {"startedAt": _now()}}, ready=True)],
        )
        return ip

    def stick(self, pod: client.V1Pod, reason: str, message: str = "") -> None:
        """Let the container not start, for example with CreateContainerConfigError or ImagePullBackOff."""
        self._bind(pod)
        waiting = {"waiting": {"reason": reason, "message": message}}
        self._patch(pod, phase="Pending", startTime=_now(), containerStatuses=[_container(pod, waiting)])

    def succeed(self, pod: client.V1Pod, message: str | dict[str, Any] = "") -> None:
        """End the pod with exit code 0 and a termination message (a dict is written as JSON)."""
        self._finish(pod, "Succeeded", 0, "Completed", _text(message))

    def fail(
        self, pod: client.V1Pod, exit_code: int = 1, message: str | dict[str, Any] = "", reason: str = "Error"
    ) -> None:
        """End the pod with an exit code; `reason` is the container's, such as OOMKilled."""
        self._finish(pod, "Failed", exit_code, reason, _text(message))

    def evict(self, pod: client.V1Pod, reason: str = "EvictionByEvictionAPI") -> None:
        """End the pod as an eviction or a preemption does: a DisruptionTarget condition, then Failed with 137."""
        self._patch(pod, conditions=[_condition("DisruptionTarget", "True", reason)])
        self._finish(pod, "Failed", 137, "Error", "")

    def delete(self, pod: client.V1Pod, grace_seconds: int | None = None) -> None:
        """Delete the pod, as a person would."""
        self._core.delete_namespaced_pod(
            pod.metadata.name, self.namespace, grace_period_seconds=grace_seconds, _request_timeout=10
        )

    def _finish(self, pod: client.V1Pod, phase: str, exit_code: int, reason: str, message: str) -> None:
        self._bind(pod)
        ended = {"exitCode": exit_code, "reason": reason, "message": message, "finishedAt": _now()}
        self._patch(
            pod,
            phase=phase,
            conditions=[_condition(kind, "False", "PodCompleted") for kind in ("ContainersReady", "Ready")],
            containerStatuses=[_container(pod, {"terminated": ended})],
        )

    def _bind(self, pod: client.V1Pod, node: str = NODE) -> None:
        if pod.spec.node_name or self._pods.get(pod.metadata.uid, pod).spec.node_name:
            return
        binding = client.V1Binding(
            metadata=client.V1ObjectMeta(name=pod.metadata.name),
            target=client.V1ObjectReference(kind="Node", name=node, api_version="v1"),
        )
        try:  # the client cannot read the answer, hence no preloading
            self._core.create_namespaced_pod_binding(
                pod.metadata.name, self.namespace, binding, _preload_content=False, _request_timeout=10
            )
        except client.ApiException as error:
            if error.status != 409:  # somebody bound it already
                raise

    def _patch(self, pod: client.V1Pod, **status: Any) -> None:
        self._core.patch_namespaced_pod_status(
            pod.metadata.name, self.namespace, {"status": status}, _request_timeout=10
        )

    def _address(self) -> str:
        high, low = divmod(next(_ADDRESSES), 250)
        return f"127.{_RANGE}.{high % 250}.{low + 1}"

    def _live(self, job: str | None, running: bool | None) -> list[client.V1Pod]:
        def wanted(pod: client.V1Pod) -> bool:
            return (
                pod.metadata.deletion_timestamp is None
                and pod.status.phase not in ("Succeeded", "Failed")
                and (job is None or (pod.metadata.labels or {}).get(_JOB) == job)
                and (running is None or (pod.status.phase == "Running") is running)
            )

        return sorted(filter(wanted, self._pods.values()), key=_order)

    @staticmethod
    def _enough(pods: list[client.V1Pod], count: int) -> bool:
        return len(pods) >= count if count else not pods

    def _describe(self) -> str:
        lines = [f"  {pod.metadata.name} {pod.status.phase}" for pod in self._pods.values()]
        return "\n".join(lines) or "  no pods at all"

    def _follow(self) -> None:
        """Keep `_pods` as the API has them, over restarts of the API server, until the context ends."""
        while not self._stopped.is_set():
            try:
                listed = self._core.list_namespaced_pod(self.namespace, _request_timeout=10)
                with self._changed:
                    self._pods = {}
                for pod in listed.items:
                    self._take("ADDED", pod)
                stream = watch.Watch().stream(
                    self._core.list_namespaced_pod,
                    self.namespace,
                    resource_version=listed.metadata.resource_version,
                    timeout_seconds=300,
                    _request_timeout=(5, 310),
                )
                for event in stream:
                    if self._stopped.is_set():
                        return
                    self._take(event["type"], event["object"])
            except (client.ApiException, urllib3.exceptions.HTTPError, ValueError):
                self._stopped.wait(0.2)  # gone, expired or restarting: list again

    def _take(self, kind: str, pod: client.V1Pod) -> None:
        with self._changed:  # others look through them meanwhile
            if kind == "DELETED":
                self._pods.pop(pod.metadata.uid, None)
            else:
                self._pods[pod.metadata.uid] = pod
            self._changed.notify_all()
        if kind != "DELETED":
            with suppress(client.ApiException):  # it went meanwhile; the watch will say so
                self._act(pod)

    def _act(self, pod: client.V1Pod) -> None:
        uid = pod.metadata.uid
        if pod.metadata.deletion_timestamp is not None:
            if not self._hold and uid not in self._ended and pod.spec.node_name:
                self._ended.add(uid)
                self._terminate(pod)
        elif self._player and uid not in self._played:
            self._played.add(uid)
            self._player(pod)

    def _terminate(self, pod: client.V1Pod) -> None:
        if pod.status.phase not in ("Succeeded", "Failed"):
            exit_code, message = self._end
            phase = "Failed" if exit_code else "Succeeded"
            self._finish(pod, phase, exit_code, "Error" if exit_code else "Completed", message)
        self.delete(pod, grace_seconds=0)


def create_played_node(core: client.CoreV1Api, name: str = NODE) -> None:
    """Make a Node that played pods are bound to, ready and large; nothing when it is there."""
    room = {"cpu": "1000", "memory": "10000Gi", "pods": "100000", "nvidia.com/gpu": "1000"}
    with suppress(client.ApiException):
        create_node(core, name, {}, room)


def create_node(core: client.CoreV1Api, name: str, labels: dict[str, str], room: dict[str, str]) -> None:
    """Make a Node that is ready, with these labels and this capacity."""
    status = {"capacity": room, "allocatable": room, "conditions": [_condition("Ready", "True", "Played")]}
    core.create_node({"metadata": {"name": name, "labels": labels}, "spec": {}})
    core.patch_node_status(name, {"status": status})
    core.patch_node(name, {"spec": {"taints": None}})  # admission marks every new node as not ready


def _container(pod: client.V1Pod, state: dict[str, Any], ready: bool = False) -> dict[str, Any]:
    container = pod.spec.containers[0]
    image = f"example.invalid/played@sha256:{'0' * 64}"
    return {
        "name": container.name,
        "image": container.image,
        "imageID": image,
        "ready": ready,
        "restartCount": 0,
        "state": state,
    }


def _condition(kind: str, status: str, reason: str | None = None) -> dict[str, Any]:
    made = {"type": kind, "status": status, "lastTransitionTime": _now()}
    return made | {"reason": reason} if reason else made


def _order(pod: client.V1Pod) -> tuple[int, str]:
    return int((pod.metadata.annotations or {}).get(_INDEX, 0)), pod.metadata.name


def _text(message: str | dict[str, Any]) -> str:
    return message if isinstance(message, str) else json.dumps(message)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
