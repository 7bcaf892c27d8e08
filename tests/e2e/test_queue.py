"""A job that a real Kueue holds, admits, preempts and admits again; needs a release, see tests/cluster/kueue.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.kueue import kueue_beside, release
from tests.cluster.queues import QUEUE, RealQueue
from tests.cluster.waiting import until
from tests.e2e.jobs import Jobs, condition, phase
from tests.e2e.learning import Expected, assert_same_learning
from tests.e2e.manifests import a_job
from tests.e2e.nodes import calm_node

RELEASE = release()
pytestmark = pytest.mark.release("FINETUNE_KUEUE")


@pytest.fixture(scope="module")
def kueue(cluster: Cluster) -> Iterator[None]:
    if cluster.plane is None:
        pytest.skip("Kueue runs as a process beside the control plane, and kind's is in a container")
    assert RELEASE is not None
    with kueue_beside(cluster.plane, RELEASE):
        yield


@pytest.mark.usefixtures("kueue")
def test_a_job_that_kueue_preempts_goes_on_and_learns_the_same(jobs: Jobs, undisturbed: Expected) -> None:
    plane = jobs.cluster.plane
    assert plane is not None
    queue = RealQueue(plane, jobs.namespace, {"kubernetes.io/hostname": calm_node(jobs.cluster)})
    queue.occupy()
    name = jobs.apply(a_job("queued").labelled(**QUEUE))
    held = jobs.wait(name, "Kueue's reason", lambda job: "quota" in condition(job, "Running").get("message", ""))
    assert phase(held) == "Queued"
    queue.free(f"{name}-1")

    jobs.in_the_middle(name)
    (pod,) = jobs.pods(name)
    assert pod.spec.node_selector == {"kubernetes.io/hostname": calm_node(jobs.cluster)}
    queue.occupy()
    jobs.wait(name, "its preemption", lambda job: phase(job) == "Queued")
    until(lambda: not jobs.pods(name), "the preempted pod to save and to go", timeout=60)
    queue.free(f"{name}-1")

    job = jobs.finished(name)
    queue.remove()
    assert job["status"]["attempt"] == 1
    assert job["status"]["restarts"] == {"total": 1, "failures": 0, "outOfMemory": 0, "disruptions": 1, "hangs": 0}
    first, second = job["status"]["history"]
    assert (first["reason"], second["reason"]) == ("Preempted", "Finished")
    assert 0 < first["toStep"] == second["fromStep"]
    assert_same_learning(job, jobs, undisturbed.result())
