"""What keeps an attempt from starting is said within 15 s, and a gang that does not start gives back what it has."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from finetune_operator.kube import client as kube_client
from finetune_operator.kube import credentials
from finetune_operator.kube.protocol import POD
from tests.builders.manifests import a_manifest
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until
from tests.integration.jobs import Jobs

pytestmark = pytest.mark.usefixtures("operator")
JOB = "python-coder"
AT_ONCE = 15
"""Seconds within which a reason that is known has to be named."""


@pytest.fixture
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


def not_scheduled(core: client.CoreV1Api, pods: PodPlayer, pod: client.V1Pod, reason: str, message: str) -> None:
    """The scheduler finds no node for the pod."""
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    core.patch_namespaced_pod_status(pod.metadata.name, pod.metadata.namespace, {"status": {"conditions": [condition]}})


def container_waits(core: client.CoreV1Api, pods: PodPlayer, pod: client.V1Pod, reason: str, message: str) -> None:
    """The kubelet cannot start the container, and says so in the pod's status."""
    pods.stick(pod, reason, message)


def kubelet_warns(core: client.CoreV1Api, pods: PodPlayer, pod: client.V1Pod, reason: str, message: str) -> None:
    """The kubelet cannot set the pod up, and says so in an event alone."""
    pods.stick(pod, "ContainerCreating")
    now = core.read_namespaced_pod(pod.metadata.name, pod.metadata.namespace).metadata.creation_timestamp.isoformat()
    about = {"name": pod.metadata.name, "uid": pod.metadata.uid}
    warn(core, pod.metadata.namespace, about, reason, message, now)


def warn(core: client.CoreV1Api, namespace: str, pod: dict[str, str], reason: str, message: str, now: str) -> None:
    """An event of type Warning about a pod."""
    about = {"kind": "Pod", "namespace": namespace, **pod}
    core.create_namespaced_event(
        namespace,
        {
            "metadata": {"name": f"{pod['name']}.{reason.lower()}"},
            "involvedObject": about,
            "type": "Warning",
            "reason": reason,
            "message": message,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": "kubelet"},
        },
    )


NO_ROOM = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
NO_CLAIM = 'persistentvolumeclaim "data" not found'
TROUBLES: dict[str, tuple[Callable[..., None], str, str]] = {
    "full": (not_scheduled, "Unschedulable", NO_ROOM),
    "no-claim": (not_scheduled, "Unschedulable", NO_CLAIM),
    "no-image": (container_waits, "ErrImagePull", 'failed to pull image "registry.example.com/trainer:1"'),
    "wrong-image": (container_waits, "InvalidImageName", "couldn't parse image name"),
    "no-rows": (container_waits, "CreateContainerConfigError", 'configmap "rows" not found'),
    "no-mount": (kubelet_warns, "FailedMount", 'MountVolume.SetUp failed for volume "models"'),
}
"""By job: who says it, as which reason, in which words."""


def test_whoever_knows_what_keeps_a_pod_from_starting_is_quoted(
    jobs: Jobs, pods: PodPlayer, core: client.CoreV1Api
) -> None:
    for job in TROUBLES:
        jobs.apply(a_manifest().named(job))
    for job, (say, reason, message) in TROUBLES.items():
        (pod,) = pods.wait(job=f"{job}-1")
        say(core, pods, pod, reason, message)
    for job, (_, reason, message) in TROUBLES.items():
        assert message in jobs.wait_condition(job, "Running", reason, timeout=AT_ONCE)["message"]
        assert jobs.status(job)["phase"] == "Starting"
        until(lambda job=job, reason=reason: reason in jobs.events(job), f"the event of {job}")


def test_pods_that_an_admission_policy_refuses_are_named(
    jobs: Jobs, pods: PodPlayer, apply: Callable[..., Any]
) -> None:
    limits = [{"type": "Container", "max": {"memory": "1Mi"}, "default": {"memory": "1Mi"}}]
    apply({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "tiny"}, "spec": {"limits": limits}})
    jobs.apply(a_manifest().with_spec(compute={"gpusPerNode": 0, "memory": "2Gi"}))
    condition = jobs.wait_condition(JOB, "Running", "FailedCreate", timeout=AT_ONCE)
    assert "maximum memory usage per Container is 1Mi" in condition["message"]
    assert pods.wait(0, job=f"{JOB}-1") == []


def test_a_quota_that_refuses_the_pods_of_a_gang_is_named_and_what_is_there_given_back(
    jobs: Jobs, pods: PodPlayer, core: client.CoreV1Api
) -> None:
    quota(core, jobs.namespace, pods="1")
    jobs.apply(a_manifest().on_nodes(2).retrying(startDeadlineSeconds=12, backoffSeconds=300))
    (first,) = pods.wait(job=f"{JOB}-1")
    pods.run(first)
    assert "exceeded quota" in jobs.wait_condition(JOB, "Running", "FailedCreate", timeout=AT_ONCE)["message"]
    status = jobs.wait(JOB, "Retrying", timeout=45)
    assert status["failure"]["reason"] == "StartDeadlineExceeded"
    assert "exceeded quota" in status["failure"]["message"]
    assert (status["attempt"], status["restarts"]["failures"]) == (2, 1)
    pods.wait_gone(first)
    until(lambda: jobs.children() == [], "the Job to be given back")


def test_a_job_that_the_api_server_refuses_says_so(jobs: Jobs, pods: PodPlayer, core: client.CoreV1Api) -> None:
    quota(core, jobs.namespace, **{"count/jobs.batch": "0"})
    jobs.apply(a_manifest())
    condition = jobs.wait_condition(JOB, "Accepted", "QuotaExceeded", timeout=AT_ONCE)
    assert "count/jobs.batch" in condition["message"]
    core.delete_namespaced_resource_quota("limits", jobs.namespace)
    pods.wait(job=f"{JOB}-1", timeout=45)
    jobs.wait_condition(JOB, "Accepted", "Accepted")


def quota(core: client.CoreV1Api, namespace: str, **hard: str) -> None:
    """A quota that counts at once: nothing waits for the controller that keeps its status."""
    core.create_namespaced_resource_quota(namespace, {"metadata": {"name": "limits"}, "spec": {"hard": hard}})
    status = {"hard": hard, "used": dict.fromkeys(hard, "0")}

    def is_kept() -> bool:
        core.patch_namespaced_resource_quota_status("limits", namespace, {"status": status})
        answer = core.read_namespaced_resource_quota("limits", namespace, _preload_content=False)
        return bool(json.loads(answer.data).get("status", {}).get("hard") == hard)

    until(is_kept, "the quota to count")


async def test_warnings_are_read_to_the_last_page(
    core: client.CoreV1Api, namespace: str, operator_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_client, "_WARNINGS_A_PAGE", 2)
    for number in range(5):
        pod = {"name": f"pod-{number}", "uid": f"uid-{number}"}
        warn(core, namespace, pod, "FailedMount", "the volume is away", "2026-01-02T03:04:05Z")
    kube = kube_client.ApiServer(credentials.find(operator_account), through_proxy=False)
    try:
        found = await kube.warnings(POD, namespace)
    finally:
        await kube.close()
    assert sorted(event["regarding"]["uid"] for event in found) == [f"uid-{number}" for number in range(5)]
