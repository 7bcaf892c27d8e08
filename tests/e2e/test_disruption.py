"""What a cluster does to a job in the middle: it ends as if nothing had happened."""

from __future__ import annotations

import pytest

from tests.cluster.cluster import Cluster
from tests.e2e.installation import kill_operator
from tests.e2e.jobs import Document, Jobs, phase
from tests.e2e.manifests import a_job
from tests.e2e.results import Undisturbed, losses, means

TOLERANCE = 1e-5


def assert_same_learning(job: Document, jobs: Jobs, undisturbed: Undisturbed) -> None:
    """Both runs saw the same losses all the way, and measure the same at the end."""
    expected, found = losses(undisturbed.run), losses(jobs.run_directory(job))
    assert expected.keys() <= found.keys()  # a run that is stopped logs its last step as well
    assert means(found, expected.keys()) == pytest.approx(expected, abs=TOLERANCE)
    assert job["status"]["metrics"]["eval_loss"] == pytest.approx(undisturbed.metrics["eval_loss"], abs=TOLERANCE)


def test_a_deleted_pod_is_replaced_and_goes_on_from_the_newest_checkpoint(jobs: Jobs, undisturbed: Undisturbed) -> None:
    name = jobs.apply(a_job("pod-deleted"))
    middle = jobs.in_the_middle(name)
    (pod,) = jobs.pods(name)
    jobs.kubectl("delete", "pod", pod.metadata.name, "--wait=false")

    job = jobs.finished(name)
    status = job["status"]
    assert status["attempt"] == 2
    assert status["restarts"] == {"total": 1, "failures": 0, "outOfMemory": 0, "disruptions": 1, "hangs": 0}
    first, second = status["history"]
    assert middle["status"]["checkpoint"]["latest"]["step"] <= first["toStep"] == second["fromStep"]
    assert_same_learning(job, jobs, undisturbed)


def test_a_killed_operator_leaves_the_job_alone(jobs: Jobs, undisturbed: Undisturbed, cluster: Cluster) -> None:
    name = jobs.apply(a_job("operator-killed"))
    jobs.in_the_middle(name)
    (before,) = jobs.pods(name)
    kill_operator(cluster)
    (after,) = jobs.pods(name)
    assert after.status.phase == "Running", "the operator was killed too late to tell"

    job = jobs.finished(name)
    (after,) = jobs.pods(name)
    assert after.metadata.uid == before.metadata.uid
    assert job["status"]["restarts"]["total"] == 0
    assert_same_learning(job, jobs, undisturbed)


def test_a_suspended_job_frees_its_pod_and_resumes_where_it_was(jobs: Jobs, undisturbed: Undisturbed) -> None:
    name = jobs.apply(a_job("suspended"))
    jobs.in_the_middle(name)
    jobs.patch(name, {"suspend": True})
    jobs.wait(name, "its suspension", lambda job: phase(job) == "Suspended")
    assert jobs.pods(name) == []
    jobs.patch(name, {"suspend": False})

    job = jobs.finished(name)
    assert job["status"]["restarts"]["failures"] == 0
    assert_same_learning(job, jobs, undisturbed)
