"""A queue that admits, preempts and admits again, by its protocol on Jobs: it alone writes the child's spec.suspend."""

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes import client

from finetune_api.trainer_contract import TrainerConfig
from tests.builders.manifests import a_manifest
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until
from tests.integration.jobs import FINISHED, Jobs

pytestmark = pytest.mark.usefixtures("operator")
JOB = "python-coder"
CHILD = f"{JOB}-1"
QUEUE = {"kueue.x-k8s.io/queue-name": "team", "kueue.x-k8s.io/priority-class": "low"}
TOPOLOGY = {"kueue.x-k8s.io/podset-preferred-topology": "rack"}


class Kueue:
    """Suspends a child Job and lets it go on, as Kueue's controller does."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._batch = client.BatchV1Api(api)
        self._namespace = namespace

    def hold(self, child: str) -> None:
        self._patch(child, {"suspend": True})

    def admit(self, child: str, flavor: str) -> None:
        """With the nodes of the flavor that was found."""
        placed = {"metadata": {"labels": {"flavor": flavor}}, "spec": {"nodeSelector": {"pool": flavor}}}
        self._patch(child, {"template": placed})
        self._patch(child, {"suspend": False})

    def _patch(self, child: str, spec: dict[str, Any]) -> None:
        self._batch.patch_namespaced_job(child, self._namespace, {"spec": spec})


@pytest.fixture
def kueue(api: client.ApiClient, namespace: str) -> Kueue:
    return Kueue(api, namespace)


def queued_job(jobs: Jobs, kueue: Kueue) -> None:
    """A job of a queue, whose Job is held before a pod of it runs."""
    manifest = a_manifest().labelled(**QUEUE)
    manifest.document["metadata"]["annotations"] = dict(TOPOLOGY)
    jobs.apply(manifest)
    until(lambda: CHILD in jobs.children(), "the Job")
    kueue.hold(CHILD)
    jobs.wait(JOB, "Queued")


def test_a_queue_is_asked_by_the_jobs_own_labels(jobs: Jobs, kueue: Kueue) -> None:
    queued_job(jobs, kueue)
    child = jobs.child(CHILD)
    assert QUEUE.items() <= child["metadata"]["labels"].items()
    assert child["metadata"]["annotations"].items() >= TOPOLOGY.items()
    assert child["spec"]["template"]["metadata"]["annotations"] == TOPOLOGY


def test_a_preemption_keeps_the_attempt_and_costs_nothing(jobs: Jobs, pods: PodPlayer, kueue: Kueue) -> None:
    queued_job(jobs, kueue)
    kueue.admit(CHILD, "first")
    (pod,) = pods.wait(job=CHILD)
    pods.run(pod)
    jobs.wait(JOB, "Running")
    saved = {"step": 120, "run": 1, "fromStep": 0, "checkpoint": {"latest": {"step": 120}, "count": 1}}
    pods.terminate_with(14, jobs.record(JOB, "Interrupted", **saved))
    kueue.hold(CHILD)
    jobs.wait(JOB, "Queued")
    pods.wait_gone(pod)
    (line,) = until(lambda: _said_its_run(jobs), "what the run said at its end")
    assert (line["attempt"], line["run"], line["reason"], line["toStep"]) == (1, 1, "Preempted", 120)
    status = jobs.status(JOB)
    assert status["restarts"] == {"total": 1, "disruptions": 1, "failures": 0, "hangs": 0, "outOfMemory": 0}
    assert (status["attempt"], status["checkpoint"]["latest"]["step"]) == (1, 120)
    kueue.admit(CHILD, "second")
    (again,) = pods.wait(job=CHILD)
    assert again.spec.node_selector == {"pool": "second"}
    pods.run(again)
    assert jobs.wait(JOB, "Running")["attempt"] == 1
    pods.succeed(again, jobs.record(JOB, "Finished", **{**FINISHED, "run": 2, "fromStep": 120}))
    history = jobs.wait(JOB, "Succeeded")["history"]
    ends = [(entry["attempt"], entry["run"], entry["fromStep"], entry["reason"]) for entry in history]
    assert ends == [(1, 1, 0, "Preempted"), (1, 2, 120, "Finished")]
    assert jobs.children() == [CHILD]
    until(lambda: "Succeeded" in jobs.events(JOB), "the last event")
    assert {"Queued", "Admitted", "Preempted"} <= set(jobs.events(JOB))


def test_each_run_of_an_attempt_is_told_the_same_and_takes_a_number_of_its_own(
    jobs: Jobs, pods: PodPlayer, kueue: Kueue
) -> None:
    """The number is claimed on the volume, so that the same configuration gives two runs that fence each other off."""
    queued_job(jobs, kueue)
    configurations = []
    for flavor in ("first", "second"):
        kueue.admit(CHILD, flavor)
        (pod,) = pods.wait(job=CHILD)
        pods.run(pod)
        jobs.wait(JOB, "Running")
        configurations.append(TrainerConfig.decode(pod.spec.containers[0].env[0].value))
        kueue.hold(CHILD)
        jobs.wait(JOB, "Queued")
        pods.wait_gone(pod)
    assert configurations[0] == configurations[1]
    assert configurations[0].attempt == 1


@pytest.mark.parametrize("end", ["suspended", "cancelled"])
def test_a_job_in_the_queue_can_be_taken_out_of_it(
    end: str, jobs: Jobs, kueue: Kueue, apply: Callable[..., Any]
) -> None:
    queued_job(jobs, kueue)
    manifest = a_manifest().labelled(**QUEUE)
    jobs.apply(manifest.suspended() if end == "suspended" else manifest.cancelled())
    jobs.wait(JOB, "Suspended" if end == "suspended" else "Cancelled")
    until(lambda: jobs.children() == [], "the Job to leave the queue")
    assert jobs.status(JOB)["restarts"]["total"] == 0


def _said_its_run(jobs: Jobs) -> list[dict[str, Any]] | None:
    history: list[dict[str, Any]] = jobs.status(JOB)["history"]
    return history if "run" in history[-1] else None
