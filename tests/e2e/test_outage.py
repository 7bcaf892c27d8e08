"""What happens to operator and control plane while a job trains: it goes on, and nothing is doubled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.process import Process
from tests.cluster.waiting import until
from tests.e2e.in_turns import Outage, in_turns
from tests.e2e.installation import kill_operator, leader, silence
from tests.e2e.manifests import a_job
from tests.e2e.results import losses

STEPS_WITHOUT = 60  # that a job trains while the API server is away: some seconds


@in_turns("leader-lost", cpu="250m")  # a Lease takes fifteen seconds to run out
def test_a_second_replica_takes_over_from_one_that_falls_silent(outage: Outage) -> Iterator[None]:
    the_plane(outage)
    jobs, cluster = outage.jobs, outage.cluster
    first = leader(cluster)
    with outage.leaves_the_pod_alone():
        silence(cluster, jobs.api, first)
        late = jobs.apply(a_job("applied-meanwhile", steps=20))
        until(lambda: leader(cluster) not in ("", first), "another leader", timeout=20)
    yield
    outage.left_the_job_alone()
    jobs.finished(late)
    assert len(jobs.pods(late)) == 1


@in_turns("operator-killed", cpu="400m")  # two replicas start anew
def test_a_killed_operator_leaves_the_job_alone(outage: Outage) -> Iterator[None]:
    with outage.leaves_the_pod_alone():
        kill_operator(outage.cluster)
    yield
    outage.left_the_job_alone()


@in_turns("apiserver-restarted")
def test_a_killed_api_server_leaves_the_job_alone(outage: Outage) -> Iterator[None]:
    plane = the_plane(outage)
    with outage.leaves_the_pod_alone():
        kill_for_a_while(plane.apiserver, plane, outage)
    yield
    outage.left_the_job_alone()


@in_turns("etcd-restarted")
def test_a_killed_etcd_leaves_the_job_alone(outage: Outage) -> Iterator[None]:
    plane = the_plane(outage)
    with outage.leaves_the_pod_alone():
        kill_for_a_while(plane.etcd, plane, outage)
    yield
    outage.left_the_job_alone()


def the_plane(outage: Outage) -> ControlPlane:
    """The processes of the control plane; where there are none the test is left out."""
    if not outage.cluster.plane:
        pytest.skip("control plane and containers are struck where they are processes of this machine, not on kind")
    return outage.cluster.plane


def kill_for_a_while(process: Process, plane: ControlPlane, outage: Outage) -> None:
    """Kill a process of the control plane, and start it again when the job has trained without it."""
    results = outage.jobs.results_so_far(outage.name)
    process.kill()
    before = max(losses(results))
    until(lambda: max(losses(results)) >= before + STEPS_WITHOUT, "the job to train without it", timeout=60)
    process.start()
    plane.apiserver.wait_ready()
