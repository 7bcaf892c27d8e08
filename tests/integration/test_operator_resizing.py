"""Nodes, cores, memory and the pods' overlay changed while a job is suspended, against a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.manifests import JobManifest, a_manifest
from tests.cluster.pods import PodPlayer
from tests.integration.jobs import FINISHED, Jobs
from tests.integration.operator_process import StartOperator

JOB = "python-coder"
INTERRUPTED = {"step": 120, "checkpoint": {"latest": {"step": 120}}}
RESOLVED = {"worldSize": 1, "perDeviceBatchSize": 8, "gradientAccumulationSteps": 1}


def pause(jobs: Jobs, pods: PodPlayer, manifest: JobManifest, **record: Any) -> None:
    jobs.apply(manifest)
    (pod,) = pods.wait(job=f"{JOB}-1")
    pods.run(pod)
    jobs.wait(JOB, "Running")
    pods.terminate_with(14, jobs.record(JOB, "Interrupted", **{**INTERRUPTED, "effective": RESOLVED, **record}))
    jobs.apply(manifest.suspended())
    jobs.wait(JOB, "Suspended")


@pytest.mark.usefixtures("operator")
def test_a_suspended_job_goes_on_with_other_nodes_cores_memory_and_pods(jobs: Jobs, pods: PodPlayer) -> None:
    manifest = a_manifest()
    pause(jobs, pods, manifest)
    larger = manifest.with_spec(
        compute={"gpusPerNode": 0, "nodes": 2, "cpu": "3", "memory": "5Gi"},
        podTemplate={"nodeSelector": {"pool": "spot"}, "env": [{"name": "NCCL_DEBUG", "value": "WARN"}]},
    )
    jobs.apply(larger.suspended())
    jobs.apply(larger.suspended(False))
    first, second = pods.wait(2, job=f"{JOB}-2")
    status = jobs.wait(JOB, "Starting")
    shown = {name: status["effective"][name] for name in RESOLVED}
    assert shown == {"worldSize": 2, "perDeviceBatchSize": 4, "gradientAccumulationSteps": 1}
    for pod in (first, second):
        assert pod.spec.node_selector == {"pool": "spot"}
        assert pod.spec.containers[0].resources.limits == {"cpu": "3", "memory": "5Gi"}
        environment = {variable.name: variable.value for variable in pod.spec.containers[0].env}
        assert (environment["PET_NNODES"], environment["NCCL_DEBUG"]) == ("2", "WARN")
        pods.succeed(pod, jobs.record(JOB, "Finished", attempt=2, **FINISHED))
    status = jobs.wait(JOB, "Succeeded")
    assert [entry["reason"] for entry in status["history"]] == ["Suspended", "Finished"]


@pytest.mark.usefixtures("operator")
def test_processes_that_cannot_share_the_batch_are_refused_and_the_size_can_be_mended(
    jobs: Jobs, pods: PodPlayer
) -> None:
    pause(jobs, pods, a_manifest())
    jobs.apply(a_manifest().on_nodes(3).suspended())
    jobs.apply(a_manifest().on_nodes(3).suspended(False))
    assert "3 processes cannot share" in jobs.wait_condition(JOB, "Accepted", "BatchNotShared")["message"]
    jobs.apply(a_manifest().on_nodes(3).suspended())
    jobs.wait(JOB, "Suspended")
    jobs.apply(a_manifest().on_nodes(2).suspended())
    jobs.apply(a_manifest().on_nodes(2).suspended(False))
    pods.wait(2, job=f"{JOB}-2")
    assert jobs.wait_condition(JOB, "Accepted", "Accepted")["status"] == "True"


def test_a_claim_that_was_made_for_one_node_is_not_given_to_several(
    jobs: Jobs, pods: PodPlayer, start_operator: StartOperator
) -> None:
    start_operator({"FINETUNE_PLATFORM__STORAGE_SIZE": "1Gi"})
    manifest = a_manifest().with_spec(storage=None)
    pause(jobs, pods, manifest)
    jobs.apply(manifest.on_nodes(2).suspended())
    jobs.apply(manifest.on_nodes(2).suspended(False))
    said = jobs.wait_condition(JOB, "Accepted", "ClaimNotShared")["message"]
    assert f"{JOB}-data is ReadWriteOnce" in said
