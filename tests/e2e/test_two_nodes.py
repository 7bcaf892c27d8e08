"""Jobs of two pods that find each other through the headless Service, train as one, and end as one."""

from __future__ import annotations

from dataclasses import dataclass

from kubernetes import client

from tests.builders.manifests import JobManifest
from tests.e2e.jobs import Document, Jobs
from tests.e2e.learning import Expected, Undisturbed, assert_same_learning
from tests.e2e.manifests import a_job
from tests.e2e.nodes import expect_trouble_on, troubled_node
from tests.e2e.side_by_side import TROUBLED, side_by_side
from tests.e2e.test_failure import ONE_FAILURE


@dataclass(frozen=True)
class Pair:
    """A job of two pods to which nothing has happened."""

    job: Document
    pods: list[client.V1Pod]
    learnt: Undisturbed


_PAIRS: list[Pair] = []


def a_pair(name: str, jobs: Jobs) -> JobManifest:
    return a_job(name, steps=150).on_nodes(2).with_pods(tolerations=expect_trouble_on(troubled_node(jobs.cluster)))


def the_undisturbed_pair(jobs: Jobs) -> Pair:
    """Both tests look at it; the one that comes first runs it."""
    if not _PAIRS:
        job = jobs.finished(jobs.apply(a_pair("pair", jobs)))
        _PAIRS.append(Pair(job, jobs.pods("pair"), Undisturbed.of(job, jobs.run_directory(job))))
    return _PAIRS[0]


@side_by_side(TROUBLED)
def test_two_pods_train_as_one(jobs: Jobs, undisturbed: Expected) -> None:
    pair = the_undisturbed_pair(jobs)
    assert pair.job["status"]["effective"]["worldSize"] == 2
    assert pair.job["status"]["effective"]["strategy"] == "DDP"
    assert pair.job["status"]["restarts"]["total"] == 0
    assert [pod.status.phase for pod in pair.pods] == ["Succeeded", "Succeeded"]
    indexes = [pod.metadata.annotations["batch.kubernetes.io/job-completion-index"] for pod in pair.pods]
    assert sorted(indexes) == ["0", "1"]


@side_by_side(TROUBLED)
def test_a_killed_rank_of_two_takes_the_gang_down_and_back(jobs: Jobs, undisturbed: Expected) -> None:
    alone = the_undisturbed_pair(jobs).learnt
    name = jobs.apply(a_pair("rank-killed", jobs).retrying(backoffSeconds=1))
    jobs.in_the_middle(name)
    before = jobs.pods(name)
    jobs.kill_ranks(before[1])
    failed = jobs.wait(name, "the end of the attempt", lambda job: job["status"]["attempt"] == 2)
    assert failed["status"]["failure"]["rank"] == 1
    assert failed["status"]["failure"]["signal"] == "SIGKILL"

    job = jobs.finished(name)
    assert job["status"]["restarts"] == ONE_FAILURE
    after = [pod for pod in jobs.pods(name) if pod.metadata.uid not in {pod.metadata.uid for pod in before}]
    assert [pod.status.phase for pod in after] == ["Succeeded", "Succeeded"]
    assert_same_learning(job, jobs, alone)
