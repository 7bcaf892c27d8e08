"""The Job controller for this machine: an Indexed Job with backoffLimit 0, all pods at once; starts no second try."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from finetune_operator.errors import NotFoundError
from finetune_operator.kube.protocol import JOB, POD, Document

from .pods import LocalPod, document_of
from .store import Store, now
from .volumes import Directories


class LocalJobs:
    """Runs child Jobs as Kubernetes would: one pod's end that is no success ends the whole Job."""

    def __init__(
        self, store: Store, directories: Directories, gpus: int, command: Sequence[str], keep_open: Sequence[int]
    ) -> None:
        self._store = store
        self._directories = directories
        self._gpus = gpus
        self._command = command
        self._keep_open = keep_open
        self._pods: dict[str, list[LocalPod]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._deletions: set[asyncio.Task[None]] = set()

    def pod(self, uid: str) -> LocalPod | None:
        """The pod with this uid, if its Job is still there."""
        return next((pod for pods in self._pods.values() for pod in pods if pod.uid == uid), None)

    def pod_named(self, name: str) -> LocalPod | None:
        """The pod of this name, if its Job is still there."""
        return next((pod for pods in self._pods.values() for pod in pods if pod.name == name), None)

    def start(self, job: Document) -> None:
        """Begins a Job that was just stored."""
        self._tasks[job["metadata"]["uid"]] = asyncio.create_task(self._run(job))

    def delete(self, job: Document) -> None:
        """Begins to delete a Job in the foreground: its pods end within their grace, then it is gone."""
        metadata = job["metadata"]
        if "deletionTimestamp" in metadata:
            return
        finalizers = ["foregroundDeletion"]
        self._store.change(
            JOB, metadata["namespace"], metadata["name"],
            metadata={"deletionTimestamp": now(), "deletionGracePeriodSeconds": 0, "finalizers": finalizers},
        )  # fmt: skip
        self._keep(self._delete(job))

    def delete_pod(self, pod: Document, grace_seconds: int | None) -> None:
        """Begins to delete one pod, as somebody's `kubectl delete pod` does."""
        self._keep(self._delete_pod(pod, grace_seconds))

    async def close(self) -> None:
        """Kills what is left and waits until it is gone."""
        for pods in self._pods.values():
            for pod in pods:
                pod.kill()
        await asyncio.gather(*self._tasks.values(), *self._deletions, return_exceptions=True)

    def kill(self) -> None:
        """Kills every process at once; their pods then end as killed ones."""
        for pods in self._pods.values():
            for pod in pods:
                pod.kill()

    async def _run(self, job: Document) -> None:
        nodes = job["spec"].get("completions", 1)
        self._status(job, startTime=now(), active=nodes, ready=0)
        ports = (free_port(), free_port())
        pods = []
        for index in range(nodes):
            document = self._store.add(POD, document_of(job, index))
            pods.append(LocalPod(self._store, document, self._directories, self._gpus))
        self._pods[job["metadata"]["uid"]] = pods
        for index, pod in enumerate(pods):
            pod.start(ports, 0 if index else free_port(), self._keep_open, self._command)
        self._status(job, active=nodes, ready=nodes)
        codes = await self._until_over(job, pods)
        self._finish(job, codes)

    async def _until_over(self, job: Document, pods: list[LocalPod]) -> list[int]:
        """Waits for all; the first that fails makes the others end."""
        waits = [asyncio.create_task(pod.wait()) for pod in pods]
        for next_done in asyncio.as_completed(waits):
            if await next_done != 0:
                left = [pod for pod in pods if not pod.over.is_set()]
                if left:
                    self._status(job, terminating=len(left), conditions=[_condition("FailureTarget", "", "")])
                    await asyncio.gather(*(pod.end(_grace(job)) for pod in left))
                break
        return list(await asyncio.gather(*waits))

    def _finish(self, job: Document, codes: list[int]) -> None:
        failed = [code for code in codes if code != 0]
        status: dict[str, Any] = {
            "active": 0, "ready": 0, "terminating": 0, "failed": len(failed), "succeeded": len(codes) - len(failed),
        }  # fmt: skip
        if failed:
            by_policy = any(code in _policy_codes(job) for code in failed)
            reason = "PodFailurePolicy" if by_policy else "BackoffLimitExceeded"
            end = _condition("Failed", reason, f"exit codes {', '.join(map(str, codes))}")
        else:
            end = _condition("Complete", "CompletionsReached", "all pods succeeded")
            status["completionTime"] = end["lastTransitionTime"]
        self._status(job, **status, conditions=[end])

    async def _delete(self, job: Document) -> None:
        uid, namespace = job["metadata"]["uid"], job["metadata"]["namespace"]
        pods = self._pods.get(uid, [])
        for pod in pods:
            self._marked(pod, _grace(job))
        await asyncio.gather(*(pod.end(_grace(job)) for pod in pods))
        await asyncio.gather(self._tasks[uid], return_exceptions=True)
        for pod in self._pods.pop(uid, []):
            self._store.remove(POD, namespace, pod.name)
        self._store.remove(JOB, namespace, job["metadata"]["name"])

    async def _delete_pod(self, document: Document, grace_seconds: int | None) -> None:
        metadata = document["metadata"]
        grace = document["spec"].get("terminationGracePeriodSeconds", 30) if grace_seconds is None else grace_seconds
        pod = self.pod(metadata["uid"])
        if pod is not None:
            self._marked(pod, grace)
            await pod.end(grace)
        self._store.remove(POD, metadata["namespace"], metadata["name"])

    def _marked(self, pod: LocalPod, grace: float) -> None:
        deletion = {"deletionTimestamp": now(), "deletionGracePeriodSeconds": int(grace)}
        try:
            self._store.change(POD, pod.namespace, pod.name, metadata=deletion)
        except NotFoundError:
            return  # deleted by hand before

    def _status(self, job: Document, **fields: Any) -> None:
        self._store.change(JOB, job["metadata"]["namespace"], job["metadata"]["name"], status=fields)

    def _keep(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._deletions.add(task)
        task.add_done_callback(self._deletions.discard)


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _grace(job: Document) -> float:
    return float(job["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 30))


def _condition(kind: str, reason: str, message: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now()}


def _policy_codes(job: Document) -> set[int]:
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    return {code for rule in rules for code in (rule.get("onExitCodes") or {}).get("values", ())}
