"""FineTuneJobs of one namespace as a person with kubectl handles them, and waiting for what becomes of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, watch

from tests.builders.manifests import JobManifest
from tests.cluster.cluster import Cluster
from tests.cluster.waiting import until
from tests.e2e.results import checkpoints

GROUP, VERSION, PLURAL = "finetune.dev", "v1alpha1", "finetunejobs"
TIMEOUT = 600.0  # a machine that does other things as well takes several times as long
ENDS = ("Succeeded", "Failed", "Cancelled")

_KILL_RANKS = """
import os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if process.name != str(os.getpid()) and b"finetune_trainer.worker" in (process / "cmdline").read_bytes():
        os.kill(int(process.name), signal.SIGKILL)
"""

Document = dict[str, Any]


class WaitError(AssertionError):
    """A job did not become what a test waited for; says what it was instead."""


@dataclass
class Jobs:
    """The jobs of a namespace."""

    cluster: Cluster
    api: client.ApiClient
    namespace: str

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """kubectl in this namespace. Raises ClusterError with what it said when it fails."""
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin)

    def apply(self, manifest: JobManifest) -> str:
        """`kubectl apply -f -` of a manifest; returns the job's name. Raises ClusterError when it is refused."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest.document))
        return manifest.name

    def delete(self, name: str) -> None:
        """`kubectl delete`, which waits until the object is gone."""
        self.kubectl("delete", "ftj", name, "--timeout=60s")

    def patch(self, name: str, spec: Document) -> None:
        """Merge fields into the spec."""
        self.kubectl("patch", "ftj", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def get(self, name: str) -> Document:
        """The job as it is now."""
        found: Document = self._custom().get_namespaced_custom_object(GROUP, VERSION, self.namespace, PLURAL, name)
        return found

    def wait(self, name: str, what: str, holds: Callable[[Document], Any], timeout: float = TIMEOUT) -> Document:
        """Watch a job until `holds` is true of it, and return it as it is then.

        Raises:
            WaitError: it ended for good in another state, or `timeout` seconds went by.
        """
        deadline = time.monotonic() + timeout
        job: Document = {}
        while (left := deadline - time.monotonic()) > 0:
            for event in watch.Watch().stream(
                self._custom().list_namespaced_custom_object,
                *(GROUP, VERSION, self.namespace, PLURAL),
                field_selector=f"metadata.name={name}",
                timeout_seconds=max(1, int(left)),
            ):
                job = event["object"]
                if event["type"] in ("ADDED", "MODIFIED") and holds(job):
                    return job
                if phase(job) in ENDS:
                    raise WaitError(f"{name} ended as {summary(job)}; waited for {what}")
        raise WaitError(f"waited {timeout:.0f} s for {what} of {name}; it is {summary(job)}")

    def finished(self, name: str, timeout: float = TIMEOUT) -> Document:
        """Wait until a job has succeeded."""
        return self.wait(name, "its success", lambda job: condition(job, "Succeeded").get("status") == "True", timeout)

    def in_the_middle(self, name: str, claim: Path | None = None) -> int:
        """Wait until a complete checkpoint lies on a job's volume while it goes on training; returns its step.

        Looked for where the trainer writes it: in the status it stands up to ten seconds later, when a job of
        a test may be over. `claim` is where the claim lies that holds the results, unless the operator made it.

        Raises:
            WaitError: it ended for good before that.
        """
        self.wait(name, "its pods to run", lambda job: phase(job) == "Running")
        directory = claim or self.claim_directory(name)

        def look() -> int:
            job = self.get(name)
            if phase(job) in ENDS:
                raise WaitError(f"{name} ended as {summary(job)}; waited for a checkpoint in the middle")
            return max(checkpoints(directory / name), default=0)

        return until(look, f"a checkpoint of {name}", timeout=TIMEOUT, every=0.2)

    def pods(self, name: str) -> list[client.V1Pod]:
        """The pods of a job's attempts, oldest first."""
        found = client.CoreV1Api(self.api).list_namespaced_pod(self.namespace).items
        prefix = f"{name}-"
        mine = [pod for pod in found if (pod.metadata.labels or {}).get("job-name", "").startswith(prefix)]
        return sorted(mine, key=lambda pod: (pod.metadata.creation_timestamp, pod.metadata.name))

    def kill_ranks(self, pod: client.V1Pod) -> None:
        """SIGKILL every rank in a pod, by `kubectl exec`; the supervisor lives on."""
        self.kubectl("exec", pod.metadata.name, "--", "python", "-c", _KILL_RANKS)

    def log_file(self, pod: client.V1Pod) -> Path:
        """The log of a pod's container where its node keeps it, also when no kubelet answers."""
        node, uid = pod.spec.node_name.rpartition("-")[2], pod.metadata.uid
        pods = self.cluster.directory / f"kubelet-{node}" / "pods"
        return pods / f"{self.namespace}_{pod.metadata.name}_{uid}" / pod.spec.containers[0].name / "0.log"

    def claim_directory(self, name: str) -> Path:
        """Where the claim lies that the operator has made for a job's results."""
        return self.cluster.claim_directory(f"{name}-data", self.namespace)

    def results_so_far(self, name: str) -> Path:
        """The fingerprint's directory of a job that has not finished, on the claim that the operator made."""
        (run,) = (self.claim_directory(name) / name).iterdir()
        return run

    def run_directory(self, job: Document) -> Path:
        """Where the results of a finished job lie on this machine: its fingerprint's directory, with `output` in it."""
        output = job["status"]["output"]
        return (self.cluster.claim_directory(output["claim"], self.namespace) / output["path"]).parent

    def _custom(self) -> client.CustomObjectsApi:
        return client.CustomObjectsApi(self.api)


def phase(job: Document) -> str:
    """The phase in the status; empty before the operator has seen the job."""
    return str(job.get("status", {}).get("phase", ""))


def condition(job: Document, kind: str) -> Document:
    """The condition of a type; empty when there is none."""
    conditions = job.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


def summary(job: Document) -> str:
    """A job's state in a line."""
    status = job.get("status", {})
    wanted = ("phase", "attempt", "restarts", "progress", "checkpoint", "failure")
    return str({name: status[name] for name in wanted if name in status})
