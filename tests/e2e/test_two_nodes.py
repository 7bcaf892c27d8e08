"""A job of two pods that find each other through the headless Service and train as one."""

from __future__ import annotations

from tests.e2e.jobs import Jobs
from tests.e2e.manifests import a_job


def test_two_pods_train_as_one(jobs: Jobs) -> None:
    name = jobs.apply(a_job("pair", steps=30).on_nodes(2))
    job = jobs.finished(name)
    assert job["status"]["effective"]["worldSize"] == 2
    assert job["status"]["effective"]["strategy"] == "DDP"
    pods = jobs.pods(name)
    assert [pod.status.phase for pod in pods] == ["Succeeded", "Succeeded"]
    assert sorted(pod.metadata.annotations["batch.kubernetes.io/job-completion-index"] for pod in pods) == ["0", "1"]
