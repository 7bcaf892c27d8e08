"""The life of a job against a real API server: the real operator runs, pods are played."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.builders.manifests import a_manifest
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until
from tests.integration.jobs import FINISHED, Jobs
from tests.integration.operator_process import OperatorProcess

pytestmark = pytest.mark.usefixtures("operator")
JOB = "python-coder"


def test_a_job_runs_to_its_end(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait(job=f"{JOB}-1")
    assert jobs.wait(JOB, "Starting")["attempt"] == 1
    pods.run(pod)
    jobs.wait(JOB, "Running")
    pods.succeed(pod, jobs.record(JOB, "Finished", **FINISHED))
    status = jobs.wait(JOB, "Succeeded")
    path = f"{JOB}/0123456789abcdef/output"
    assert status["output"] == {"claim": "results", "path": path, "adapter": True, "bytes": 4096}
    assert status["metrics"] == {"eval_loss": 1.25}
    assert status["checkpoint"]["latest"]["step"] == 400
    assert status["effective"]["precision"] == "FP32"
    assert status["progress"]["summary"] == "100% (400/400)"
    assert [entry["reason"] for entry in status["history"]] == ["Finished"]
    assert status["completionTime"] >= status["startTime"]
    assert jobs.condition(JOB, "Succeeded")["status"] == "True"
    assert jobs.condition(JOB, "Ready")["status"] == "True"
    until(lambda: "Succeeded" in jobs.events(JOB), "the event of the end")
    assert jobs.events(JOB) == ["Started", "Running", "Succeeded"]
    assert jobs.children() == [f"{JOB}-1"]


def test_a_result_that_is_there_already_ends_the_job_as_already_complete(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait()
    pods.succeed(pod, jobs.record(JOB, "Finished", alreadyComplete=True))
    jobs.wait(JOB, "Succeeded")
    assert jobs.condition(JOB, "Succeeded")["reason"] == "AlreadyComplete"


def test_a_job_created_suspended_starts_when_it_is_resumed(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().suspended())
    jobs.wait(JOB, "Suspended")
    assert jobs.children() == []
    jobs.apply(a_manifest().suspended(False))
    (pod,) = pods.wait(job=f"{JOB}-1")
    pods.run(pod)
    jobs.wait(JOB, "Running")
    assert jobs.condition(JOB, "Suspended")["status"] == "False"


def test_a_running_job_is_suspended_with_its_checkpoint_and_resumed(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait(job=f"{JOB}-1")
    pods.run(pod)
    jobs.wait(JOB, "Running")
    pods.terminate_with(14, jobs.record(JOB, "Interrupted", step=120, checkpoint={"latest": {"step": 120}}))
    jobs.apply(a_manifest().suspended())
    status = jobs.wait(JOB, "Suspended")
    assert status["checkpoint"]["latest"]["step"] == 120
    assert "step 120" in jobs.condition(JOB, "Suspended")["message"]
    assert status["restarts"]["total"] == 0
    until(lambda: jobs.children() == [], "the Job to go")
    jobs.apply(a_manifest().suspended(False))
    (second,) = pods.wait(job=f"{JOB}-2")
    pods.succeed(second, jobs.record(JOB, "Finished", attempt=2, **FINISHED))
    status = jobs.wait(JOB, "Succeeded")
    assert [entry["reason"] for entry in status["history"]] == ["Suspended", "Finished"]


def test_a_suspension_taken_back_during_the_shutdown_goes_on_with_a_new_attempt(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait(job=f"{JOB}-1")
    pods.run(pod)
    jobs.wait(JOB, "Running")
    pods.hold_terminating()
    jobs.apply(a_manifest().suspended())
    jobs.wait(JOB, "Suspending")
    jobs.apply(a_manifest().suspended(False))
    pods.release_terminating()
    (second,) = pods.wait(job=f"{JOB}-2")
    pods.run(second)
    assert jobs.wait(JOB, "Running")["attempt"] == 2


def test_a_cancelled_job_ends_for_good(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait()
    pods.run(pod)
    jobs.wait(JOB, "Running")
    pods.terminate_with(14, jobs.record(JOB, "Interrupted", step=7))
    jobs.apply(a_manifest().cancelled())
    status = jobs.wait(JOB, "Cancelled")
    assert status["completionTime"]
    assert jobs.condition(JOB, "Cancelled")["status"] == "True"
    until(lambda: jobs.children() == [], "the Job to go")


def test_a_deleted_job_takes_its_children_along_and_its_pods_are_never_open(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait()
    pods.run(pod)
    jobs.wait(JOB, "Running")
    pods.hold_terminating()
    jobs.delete(JOB)
    until(lambda: "deletionTimestamp" in jobs.child(f"{JOB}-1")["metadata"], "the Job to be on its way")
    pods.wait(0)
    assert (jobs.names(), jobs.policies(), jobs.children()) == ([], [JOB], [f"{JOB}-1"])
    pods.release_terminating()
    pods.wait_gone(pod)
    until(lambda: (jobs.children(), jobs.policies()) == ([], []), "Job and policy to go")


def test_a_child_deleted_by_hand_is_followed_by_a_new_attempt(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait(job=f"{JOB}-1")
    pods.run(pod)
    jobs.wait(JOB, "Running")
    jobs.delete_child(f"{JOB}-1")
    (second,) = pods.wait(job=f"{JOB}-2")
    pods.run(second)
    status = jobs.wait(JOB, "Running")
    assert status["restarts"] == {"total": 1, "disruptions": 1, "failures": 0, "hangs": 0, "outOfMemory": 0}


def test_a_finished_job_stays_finished_when_its_child_is_deleted(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait()
    pods.succeed(pod, jobs.record(JOB, "Finished"))
    before = jobs.wait(JOB, "Succeeded")
    jobs.delete_child(f"{JOB}-1")
    until(lambda: jobs.children() == [], "the Job to go")
    # Something that the operator answers after it has seen the deletion.
    jobs.apply(a_manifest().named("another"))
    pods.wait(job="another-1")
    assert jobs.status(JOB) == before
    assert jobs.children() == ["another-1"]


def test_a_finished_job_is_deleted_after_its_time_to_live(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().with_spec(ttlSecondsAfterFinished=1))
    (pod,) = pods.wait()
    pods.succeed(pod, jobs.record(JOB, "Finished"))
    until(lambda: JOB not in jobs.names(), "the job to be deleted")


def test_the_nodes_of_a_gang_find_each_other(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().on_nodes(2))
    first, second = pods.wait(2, job=f"{JOB}-1")
    pods.run(first)
    pods.run(second)
    jobs.wait(JOB, "Running")
    environment = {variable.name: variable.value for variable in first.spec.containers[0].env}
    assert environment["PET_MASTER_ADDR"] == f"{first.spec.hostname}.{first.spec.subdomain}"
    assert environment["PET_NNODES"] == "2"
    for pod in (first, second):
        pods.succeed(pod, jobs.record(JOB, "Finished"))
    jobs.wait(JOB, "Succeeded")


def test_progress_is_shown_while_the_job_runs(
    jobs: Jobs, pods: PodPlayer, serve_progress: Callable[[str, dict[str, Any]], None]
) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait()
    uid = jobs.get(JOB)["metadata"]["uid"]
    report = {"uid": uid, "attempt": 1, "run": 1, "stage": "Training", "step": 120, "totalSteps": 400}
    serve_progress(
        pods.run(pod),
        {**report, "loss": 1.5, "remainingSeconds": 3100, "updatedAt": datetime.now(UTC).isoformat()},
    )
    until(lambda: jobs.status(JOB).get("progress"), "progress")
    progress = jobs.status(JOB)["progress"]
    assert (progress["summary"], progress["loss"], progress["eta"]) == ("30% (120/400)", 1.5, "51m")
    managers = {entry["manager"] for entry in jobs.get(JOB)["metadata"]["managedFields"]}
    assert "finetune-progress" in managers


def test_a_report_of_another_job_is_not_believed(
    jobs: Jobs, pods: PodPlayer, operator: OperatorProcess, serve_progress: Callable[..., list[str]]
) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait()
    report = {"uid": "somebody-else", "attempt": 1, "run": 1, "stage": "Training", "step": 9, "updatedAt": "2026-01-01"}
    asked = serve_progress(pods.run(pod), report)
    jobs.wait(JOB, "Running")
    until(lambda: asked, "the operator to ask")
    pods.succeed(pod, jobs.record(JOB, "Finished"))
    assert "progress" not in jobs.wait(JOB, "Succeeded")
