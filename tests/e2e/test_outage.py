"""What happens to operator and control plane while a job trains: it goes on, and nothing is doubled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.process import Process
from tests.cluster.waiting import until
from tests.e2e.installation import kill_operator, leader, replicas, silence
from tests.e2e.jobs import Document, Jobs
from tests.e2e.learning import Expected, assert_same_learning
from tests.e2e.manifests import a_job
from tests.e2e.results import losses

CPU = "800m"  # more than elsewhere, since nothing runs beside
STEPS_WITHOUT = 60  # that a job trains while the API server is away: some seconds


@contextmanager
def undisturbed_pod(jobs: Jobs, name: str) -> Iterator[None]:
    """Something happens in the block; afterwards the job's one pod still runs, as if it had not."""
    (before,) = jobs.pods(name)
    yield
    (after,) = jobs.pods(name)
    assert after.status.phase == "Running", "the job had finished: it happened too late to tell"
    assert after.metadata.uid == before.metadata.uid


def assert_left_alone(job: Document, jobs: Jobs, undisturbed: Expected) -> None:
    """One attempt in one pod did it all."""
    assert len(jobs.pods(job["metadata"]["name"])) == 1
    assert job["status"]["attempt"] == 1
    assert job["status"]["restarts"]["total"] == 0
    assert_same_learning(job, jobs, undisturbed.result())


def test_a_killed_operator_leaves_the_job_alone(jobs: Jobs, undisturbed: Expected, cluster: Cluster) -> None:
    name = jobs.apply(a_job("operator-killed").computing(cpu=CPU))
    jobs.in_the_middle(name)
    with undisturbed_pod(jobs, name):
        kill_operator(cluster)
    assert_left_alone(jobs.finished(name), jobs, undisturbed)


@pytest.mark.parametrize("component", ["apiserver", "etcd"])
def test_a_killed_control_plane_leaves_the_job_alone(
    component: str, jobs: Jobs, undisturbed: Expected, cluster: Cluster
) -> None:
    if not cluster.plane:
        pytest.skip("etcd and the API server are killed where they are processes of this machine, not on kind")
    process: Process = getattr(cluster.plane, component)
    name = jobs.apply(a_job(f"{component}-restarted").computing(cpu=CPU))
    jobs.in_the_middle(name)
    results = jobs.results_so_far(name)
    with undisturbed_pod(jobs, name):
        process.kill()
        before = max(losses(results))
        until(lambda: max(losses(results)) >= before + STEPS_WITHOUT, "the job to train without it", timeout=60)
        process.start()
        cluster.plane.apiserver.wait_ready()
    assert_left_alone(jobs.finished(name), jobs, undisturbed)


def test_a_second_replica_takes_over_from_one_that_falls_silent(
    jobs: Jobs, undisturbed: Expected, cluster: Cluster
) -> None:
    if not cluster.plane:
        pytest.skip("a replica is frozen where its container is a process of this machine, not on kind")
    with replicas(cluster, 2):
        name = jobs.apply(a_job("leader-lost").computing(cpu=CPU))
        jobs.in_the_middle(name)
        first = leader(cluster)
        with undisturbed_pod(jobs, name):
            silence(cluster, jobs.api, first)
            late = jobs.apply(a_job("applied-meanwhile", steps=20))
            until(lambda: leader(cluster) not in ("", first), "another leader", timeout=20)
        assert_left_alone(jobs.finished(name), jobs, undisturbed)
        jobs.finished(late)
        assert len(jobs.pods(late)) == 1
