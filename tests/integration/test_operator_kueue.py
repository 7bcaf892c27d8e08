"""A queue that admits, preempts and admits again: Kueue itself where a release of it is at hand, else its protocol."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client

from finetune_api.trainer_contract import TrainerConfig
from tests.builders.manifests import JobManifest, a_manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kueue import kueue_beside, release
from tests.cluster.pods import PodPlayer, create_node
from tests.cluster.queues import NODES, QUEUE, PlayedQueue, Queue, RealQueue
from tests.cluster.waiting import until
from tests.integration.jobs import FINISHED, Jobs

pytestmark = pytest.mark.usefixtures("operator")
JOB = "python-coder"
CHILD = f"{JOB}-1"
TOPOLOGY = {
    "kueue.x-k8s.io/podset-preferred-topology": "rack",
    "kueue.x-k8s.io/podset-slice-required-topology": "rack",
    "kueue.x-k8s.io/podset-slice-size": "1",
}


@pytest.fixture(scope="module")
def kueue(control_plane: ControlPlane) -> Iterator[bool]:
    """Whether Kueue itself runs."""
    directory = release()
    if directory is None:
        yield False
        return
    with kueue_beside(control_plane, directory):
        yield True


@pytest.fixture
def queue(kueue: bool, control_plane: ControlPlane, api: client.ApiClient, namespace: str) -> Iterator[Queue]:
    if not kueue:
        yield PlayedQueue(api, namespace)
        return
    real = RealQueue(control_plane, namespace, NODES)
    yield real
    real.remove()


def a_queued_manifest() -> JobManifest:
    return a_manifest().labelled(**QUEUE).computing(cpu="1")


def queued_job(jobs: Jobs, queue: Queue, manifest: JobManifest | None = None) -> None:
    """A job of a queue without room, whose Job is held before a pod of it is made."""
    queue.occupy()
    jobs.apply(manifest or a_queued_manifest())
    queue.take(CHILD)
    jobs.wait(JOB, "Queued")


def a_run_that_saves_when_it_is_stopped(jobs: Jobs, pods: PodPlayer, queue: Queue) -> client.V1Pod:
    """Lets the first pod of a queued job run; asked to end, it leaves a checkpoint of step 120."""
    queue.free(CHILD)
    (pod,) = pods.wait(job=CHILD)
    pods.run(pod)
    jobs.wait(JOB, "Running")
    saved = {"step": 120, "run": 1, "fromStep": 0, "checkpoint": {"latest": {"step": 120}, "count": 1}}
    pods.terminate_with(14, jobs.record(JOB, "Interrupted", **saved))
    return pod


def test_a_queue_is_asked_by_the_jobs_own_labels(jobs: Jobs, queue: Queue) -> None:
    manifest = a_queued_manifest()
    manifest.document["metadata"]["annotations"] = dict(TOPOLOGY)
    queued_job(jobs, queue, manifest)
    child = jobs.child(CHILD)
    assert QUEUE.items() <= child["metadata"]["labels"].items()
    assert child["metadata"]["annotations"].items() >= TOPOLOGY.items()
    assert child["spec"]["template"]["metadata"]["annotations"] == TOPOLOGY


def test_a_preemption_keeps_the_attempt_and_costs_nothing(jobs: Jobs, pods: PodPlayer, queue: Queue) -> None:
    queued_job(jobs, queue)
    until(lambda: queue.reason in jobs.condition(JOB, "Running")["message"], "the queue's reason")
    pod = a_run_that_saves_when_it_is_stopped(jobs, pods, queue)
    queue.occupy()
    jobs.wait(JOB, "Queued")
    pods.wait_gone(pod)
    (line,) = until(lambda: _said_its_run(jobs), "what the run said at its end")
    assert (line["attempt"], line["run"], line["reason"], line["toStep"]) == (1, 1, "Preempted", 120)
    status = jobs.status(JOB)
    assert status["restarts"] == {"total": 1, "disruptions": 1, "failures": 0, "hangs": 0, "outOfMemory": 0}
    assert (status["attempt"], status["checkpoint"]["latest"]["step"]) == (1, 120)
    queue.free(CHILD)
    (again,) = pods.wait(job=CHILD)
    assert again.spec.node_selector == NODES
    pods.run(again)
    assert jobs.wait(JOB, "Running")["attempt"] == 1
    pods.succeed(again, jobs.record(JOB, "Finished", **{**FINISHED, "run": 2, "fromStep": 120}))
    history = jobs.wait(JOB, "Succeeded")["history"]
    ends = [(entry["attempt"], entry["run"], entry["fromStep"], entry["reason"]) for entry in history]
    assert ends == [(1, 1, 0, "Preempted"), (1, 2, 120, "Finished")]
    assert jobs.children() == [CHILD]
    until(lambda: "Succeeded" in jobs.events(JOB), "the last event")
    assert {"Queued", "Admitted", "Preempted"} <= set(jobs.events(JOB))


def test_a_job_that_is_let_go_on_while_its_pod_still_saves_waits_for_that(
    jobs: Jobs, pods: PodPlayer, queue: Queue
) -> None:
    """Kueue has the room back as soon as the pod is asked to end. Both runs of the attempt are told the same: each
    claims a number of its own on the volume, which fences the other off."""
    queued_job(jobs, queue)
    pod = a_run_that_saves_when_it_is_stopped(jobs, pods, queue)
    pods.hold_terminating()
    queue.occupy()
    jobs.wait(JOB, "Queued")
    queue.free(CHILD)
    jobs.wait(JOB, "Starting")
    pods.release_terminating()
    (again,) = pods.wait(job=CHILD)
    pods.run(again)
    jobs.wait(JOB, "Running")
    first, second = jobs.status(JOB)["history"]
    assert (first["attempt"], first["run"], first["reason"], first["toStep"]) == (1, 1, "Preempted", 120)
    assert (second["attempt"], "ended" in second) == (1, False)
    told = [TrainerConfig.decode(one.spec.containers[0].env[0].value) for one in (pod, again)]
    assert told[0] == told[1]
    assert told[0].attempt == 1


@pytest.mark.parametrize("end", ["suspended", "cancelled"])
def test_a_job_in_the_queue_can_be_taken_out_of_it(end: str, jobs: Jobs, queue: Queue) -> None:
    queued_job(jobs, queue)
    manifest = a_queued_manifest()
    jobs.apply(manifest.suspended() if end == "suspended" else manifest.cancelled())
    jobs.wait(JOB, "Suspended" if end == "suspended" else "Cancelled")
    until(lambda: jobs.children() == [], "the Job to leave the queue")
    assert jobs.status(JOB)["restarts"]["total"] == 0


@pytest.mark.release("FINETUNE_KUEUE")
@pytest.mark.usefixtures("kueue")
def test_the_pods_of_a_gang_share_a_rack(
    jobs: Jobs, pods: PodPlayer, control_plane: ControlPlane, api: client.ApiClient, namespace: str
) -> None:
    core = client.CoreV1Api(api)
    racks = {f"{namespace}-{node}": rack for node, rack in (("a", "left"), ("b", "right"), ("c", "right"))}
    for node, rack in racks.items():
        labels = {"pool": namespace, "rack": rack, "kubernetes.io/hostname": node}
        create_node(core, node, labels, {"cpu": "1", "memory": "8Gi", "pods": "10"})
    queue = RealQueue(control_plane, namespace, {"pool": namespace}, cpu=3, topology="rack")
    manifest = a_queued_manifest().on_nodes(2)
    manifest.document["metadata"]["annotations"] = {"kueue.x-k8s.io/podset-required-topology": "rack"}
    jobs.apply(manifest)

    def placed() -> list[str]:
        selectors = [pod.spec.node_selector or {} for pod in pods.wait(2, job=CHILD)]
        return [one["kubernetes.io/hostname"] for one in selectors if "kubernetes.io/hostname" in one]

    assert until(lambda: len(placed()) == 2 and placed(), "both pods to be placed") == [*racks][1:]
    for pod in pods.wait(2, job=CHILD):
        pods.run(pod)
    jobs.wait(JOB, "Running")
    queue.remove()
    for node in racks:
        core.delete_node(node)


def test_a_queue_that_does_not_answer_is_named_and_waited_for(
    jobs: Jobs, control_plane: ControlPlane, namespace: str
) -> None:
    """Kueue's webhook holds every Job from its beginning; none is made while it is away."""
    hook = {
        "name": "away.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    away = kind | {"metadata": {"name": namespace}, "webhooks": [hook]}
    control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(away))
    try:
        jobs.apply(a_manifest())
        said = jobs.wait_condition(JOB, "Accepted", "AdmissionUnavailable")
        assert "away.example.com" in said["message"]
    finally:
        control_plane.kubectl("delete", "validatingwebhookconfiguration", namespace)
    until(lambda: CHILD in jobs.children(), "the Job, once it is back")


def _said_its_run(jobs: Jobs) -> list[dict[str, Any]] | None:
    history: list[dict[str, Any]] = jobs.status(JOB)["history"]
    return history if "run" in history[-1] else None
