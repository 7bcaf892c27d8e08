"""What keeps a job from starting is said in its status, and mended without a new job where that is possible."""

import pytest
from kubernetes import client

from tests.builders.manifests import a_manifest, claims
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until
from tests.integration.jobs import Jobs
from tests.integration.operator_process import StartOperator

JOB = "python-coder"


@pytest.mark.usefixtures("operator")
def test_what_this_version_cannot_do_is_refused_by_its_field(jobs: Jobs) -> None:
    jobs.apply(a_manifest().with_spec(tuning={"type": "DoRA"}))
    condition = jobs.wait_condition(JOB, "Accepted", "NotYetSupported")
    assert "spec.tuning.type" in condition["message"]
    assert jobs.status(JOB)["phase"] == "Pending"
    assert jobs.children() == []


@pytest.mark.usefixtures("operator")
def test_a_missing_claim_is_waited_for(jobs: Jobs, pods: PodPlayer, apply) -> None:
    jobs.apply(a_manifest().with_spec(storage={"claim": {"name": "later"}}))
    condition = jobs.wait_condition(JOB, "Accepted", "ClaimNotFound")
    assert "later" in condition["message"]
    apply(claims("later"))
    pods.wait(job=f"{JOB}-1")
    jobs.wait_condition(JOB, "Accepted", "Accepted")
    assert jobs.condition(JOB, "Stalled")["status"] == "False"


@pytest.mark.usefixtures("operator")
def test_a_missing_config_map_is_named(jobs: Jobs) -> None:
    sources = [{"configMap": {"name": "rows", "key": "train.jsonl"}}]
    jobs.apply(a_manifest().with_spec(dataset={"sources": sources}))
    assert "rows" in jobs.wait_condition(JOB, "Accepted", "ConfigMapNotFound")["message"]


@pytest.mark.usefixtures("operator")
def test_storage_has_to_be_said_where_the_platform_has_no_default(jobs: Jobs) -> None:
    jobs.apply(a_manifest().with_spec(storage=None))
    jobs.wait_condition(JOB, "Accepted", "StorageRequired")


def test_a_claim_is_made_with_the_platforms_size_and_used_again(
    jobs: Jobs, pods: PodPlayer, start_operator: StartOperator, api: client.ApiClient
) -> None:
    start_operator({"FINETUNE_PLATFORM__STORAGE_SIZE": "3Gi"})
    core = client.CoreV1Api(api)
    jobs.apply(a_manifest().with_spec(storage=None))
    pods.wait(job=f"{JOB}-1")
    claim = core.read_namespaced_persistent_volume_claim(f"{JOB}-data", jobs.namespace)
    assert claim.spec.resources.requests["storage"] == "3Gi"
    assert claim.metadata.owner_references is None
    jobs.delete(JOB)
    until(lambda: jobs.children() == [], "the Job to go")
    jobs.apply(a_manifest().with_spec(storage=None))
    pods.wait(job=f"{JOB}-1")
    again = core.read_namespaced_persistent_volume_claim(f"{JOB}-data", jobs.namespace)
    assert again.metadata.uid == claim.metadata.uid


@pytest.mark.usefixtures("operator")
def test_a_name_that_is_taken_is_said(jobs: Jobs, api: client.ApiClient, pods: PodPlayer) -> None:
    batch = client.BatchV1Api(api)
    container = {"name": "other", "image": "example.invalid/other"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    batch.create_namespaced_job(jobs.namespace, {"metadata": {"name": f"{JOB}-1"}, "spec": {"template": template}})
    jobs.apply(a_manifest())
    assert f"{JOB}-1" in jobs.wait_condition(JOB, "Accepted", "NameConflict")["message"]
    jobs.delete_child(f"{JOB}-1")
    jobs.wait(JOB, "Starting", timeout=45)


def test_more_gpus_than_the_platform_allows_are_refused(jobs: Jobs, start_operator: StartOperator) -> None:
    start_operator({"FINETUNE_MAXIMUM_GPUS_PER_JOB": "4"})
    jobs.apply(a_manifest().with_spec(compute={"gpusPerNode": 8}))
    assert "8 GPUs" in jobs.wait_condition(JOB, "Accepted", "NotAllowed")["message"]


@pytest.mark.usefixtures("operator")
def test_a_wrong_job_harms_no_other(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().named("wrong").with_spec(tuning={"type": "DoRA"}))
    jobs.apply(a_manifest())
    pods.wait(job=f"{JOB}-1")
