"""Suspend, resume and cancel at every moment of a job's life, against a real API server."""

import pytest
from kubernetes import client

from tests.builders.manifests import JobManifest, a_manifest
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until
from tests.integration.jobs import FINISHED, JOB, Jobs, running

pytestmark = pytest.mark.usefixtures("operator")


def saves(jobs: Jobs, pods: PodPlayer, step: int, attempt: int = 1) -> None:
    """From now on a trainer that is told to end saves this step first."""
    pods.terminate_with(14, jobs.record(JOB, "Interrupted", attempt, step=step, checkpoint={"latest": {"step": step}}))


def paused(jobs: Jobs, manifest: JobManifest) -> dict[str, object]:
    jobs.apply(manifest.suspended())
    status = jobs.wait(JOB, "Suspended")
    until(lambda: jobs.children() == [], "the Job and its pods to be given back")
    return status


def test_a_job_is_suspended_before_its_pods_run(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait(job=f"{JOB}-1")
    status = paused(jobs, a_manifest())
    pods.wait_gone(pod)
    assert status["restarts"] == {"total": 0, "failures": 0, "hangs": 0, "disruptions": 0, "outOfMemory": 0}
    jobs.apply(a_manifest().suspended(False))
    running(jobs, pods, 2)
    assert jobs.condition(JOB, "Suspended")["status"] == "False"


def test_a_job_is_suspended_while_it_waits_for_its_backoff(jobs: Jobs, pods: PodPlayer) -> None:
    manifest = a_manifest().retrying(backoffSeconds=5)
    jobs.apply(manifest)
    pods.fail(running(jobs, pods), 1)
    jobs.wait(JOB, "Retrying")
    jobs.apply(manifest.suspended())
    assert jobs.wait(JOB, "Suspended")["attempt"] == 2
    jobs.apply(manifest.suspended(False))
    assert jobs.wait(JOB, "Retrying")["restarts"]["failures"] == 1
    assert jobs.condition(JOB, "Suspended")["status"] == "False"
    running(jobs, pods, 2)


def test_two_pauses_in_a_row_go_on_from_the_newest_step(jobs: Jobs, pods: PodPlayer) -> None:
    manifest = a_manifest()
    jobs.apply(manifest)
    for attempt, step in ((1, 100), (2, 200)):
        running(jobs, pods, attempt)
        saves(jobs, pods, step, attempt)
        paused(jobs, manifest)
        condition = jobs.condition(JOB, "Suspended")
        assert (condition["status"], condition["message"]) == ("True", f"paused at the checkpoint of step {step}")
        jobs.apply(manifest.suspended(False))
    pods.succeed(running(jobs, pods, 3), jobs.record(JOB, "Finished", attempt=3, **FINISHED))
    status = jobs.wait(JOB, "Succeeded")
    assert [entry["reason"] for entry in status["history"]] == ["Suspended", "Suspended", "Finished"]
    assert status["restarts"]["total"] == 0


def test_the_size_of_a_paused_job_can_be_changed_and_nothing_else(jobs: Jobs, pods: PodPlayer) -> None:
    manifest = a_manifest().with_spec(compute={"gpusPerNode": 0, "cpu": "1"})
    jobs.apply(manifest)
    running(jobs, pods)
    saves(jobs, pods, 10)
    paused(jobs, manifest)
    larger = manifest.with_spec(compute={"gpusPerNode": 0, "cpu": "2", "memory": "3Gi", "nodes": 2})
    overlay = {"nodeSelector": {"pool": "large"}}
    jobs.apply(larger.with_spec(podTemplate=overlay).suspended())
    with pytest.raises(client.ApiException, match="hyperparameters"):
        jobs.apply(larger.with_spec(podTemplate=overlay, hyperparameters={"epochs": 9}).suspended())
    jobs.apply(larger.with_spec(podTemplate=overlay).suspended(False))
    first, second = pods.wait(2, job=f"{JOB}-2")
    asked = first.spec.containers[0].resources.requests
    assert (asked["cpu"], asked["memory"]) == ("2", "3Gi")
    assert second.spec.node_selector == {"pool": "large"}


def test_a_job_is_cancelled_while_it_saves_for_a_pause(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest())
    running(jobs, pods)
    saves(jobs, pods, 120)
    pods.hold_terminating()
    jobs.apply(a_manifest().suspended())
    jobs.wait(JOB, "Suspending")
    jobs.apply(a_manifest().suspended().cancelled())
    pods.release_terminating()
    status = jobs.wait(JOB, "Cancelled")
    assert status["checkpoint"]["latest"]["step"] == 120
    assert [entry["reason"] for entry in status["history"]] == ["Cancelled"]
    assert "Suspended" not in jobs.events(JOB)


@pytest.mark.parametrize("moment", ["suspended", "retrying", "starting"])
def test_a_job_is_cancelled_where_nothing_trains(moment: str, jobs: Jobs, pods: PodPlayer) -> None:
    manifest = a_manifest().retrying(backoffSeconds=300)
    jobs.apply(manifest.suspended(moment == "suspended"))
    if moment == "suspended":
        jobs.wait(JOB, "Suspended")
    else:
        (pod,) = pods.wait(job=f"{JOB}-1")
        if moment == "retrying":
            pods.fail(pod, 1)
            jobs.wait(JOB, "Retrying")
    jobs.apply(manifest.suspended(moment == "suspended").cancelled())
    jobs.wait(JOB, "Cancelled")
    assert jobs.condition(JOB, "Running")["status"] == "False"
    with pytest.raises(client.ApiException, match="cancel"):
        jobs.apply(manifest.suspended(moment == "suspended").with_spec(cancel=False))


def test_active_time_is_counted_over_pauses_and_pauses_are_not(jobs: Jobs, pods: PodPlayer) -> None:
    manifest = a_manifest().with_spec(activeDeadlineSeconds=4)
    jobs.apply(manifest)
    running(jobs, pods)
    until(lambda: jobs.seconds_since(jobs.status(JOB)["history"][0]["started"]) >= 2, "two seconds of training")
    saves(jobs, pods, 100)
    before = paused(jobs, manifest)["activeSeconds"]
    assert isinstance(before, int)
    assert 2 <= before < 4
    until(lambda: jobs.seconds_since(jobs.status(JOB)["history"][0]["ended"]) >= 3, "a pause longer than what is left")
    jobs.apply(manifest.suspended(False))
    running(jobs, pods, 2)
    status = jobs.wait(JOB, "Failed")
    assert jobs.condition(JOB, "Failed")["reason"] == "DeadlineExceeded"
    assert status["activeSeconds"] >= 4
    second = status["history"][1]
    assert status["activeSeconds"] == before + jobs.seconds_between(second["started"], second["ended"])
