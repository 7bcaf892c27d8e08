"""Jobs that begin with one another's results, against a real API server: waiting, starting, and what is in the way."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from finetune_api.trainer_contract import TrainerConfig
from tests.builders.manifests import a_manifest
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until
from tests.integration.jobs import FINISHED, Jobs

pytestmark = pytest.mark.usefixtures("operator")
FIRST = a_manifest().named("first")
SECOND = a_manifest().named("second").with_spec(model={"job": {"name": "first"}})
OUTPUT = {"path": "0123456789abcdef/output", "adapter": True, "bytes": 4096, "digest": "d1"}


def finish(jobs: Jobs, pods: PodPlayer, name: str, **fields: Any) -> None:
    (pod,) = pods.wait(job=f"{name}-1")
    pods.succeed(pod, jobs.record(name, "Finished", **{**FINISHED, "output": OUTPUT, **fields}))
    jobs.wait(name, "Succeeded")


def config_of(jobs: Jobs, child: str) -> TrainerConfig:
    container = jobs.child(child)["spec"]["template"]["spec"]["containers"][0]
    (value,) = [variable["value"] for variable in container["env"] if variable["name"] == "FINETUNE_CONFIG"]
    return TrainerConfig.decode(value)


def test_a_job_waits_for_another_one_and_begins_with_what_that_has_made(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(SECOND)
    assert "first" in jobs.wait_condition("second", "Accepted", "JobNotFound")["message"]
    jobs.apply(FIRST)
    waiting = jobs.wait_condition("second", "Running", "WaitingForJob")
    assert "waits for job first to succeed" in waiting["message"]
    assert jobs.condition("second", "Accepted")["status"] == "True"
    assert jobs.condition("second", "Stalled")["status"] == "False"
    pods.wait(job="first-1")
    assert jobs.children() == ["first-1"]
    finish(jobs, pods, "first")
    (pod,) = pods.wait(job="second-1")
    effective = jobs.wait("second", "Starting")["effective"]
    assert effective["model"] == "job first on models/tiny-llama"
    assert [(job["name"], job["claim"], job["digest"]) for job in effective["jobs"]] == [("first", "results", "d1")]
    mounts = {mount.mount_path: mount for mount in pod.spec.containers[0].volume_mounts}
    config = config_of(jobs, "second-1")
    results = mounts[config.mounts.jobs["first"]]
    assert (results.sub_path, results.read_only) == ("first/0123456789abcdef", True)
    assert mounts[config.mounts.claims["models"]].read_only
    until(lambda: "WaitingForJob" in jobs.events("second"), "the event of waiting")


def test_what_becomes_of_the_first_job_later_does_not_change_the_second(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(FIRST)
    finish(jobs, pods, "first")
    jobs.apply(SECOND)
    pods.wait(job="second-1")
    before = config_of(jobs, "second-1")
    jobs.delete("first")
    until(lambda: "first" not in jobs.names(), "the first job to go")
    jobs.delete_child("second-1")
    pods.wait(job="second-2")
    after = config_of(jobs, "second-2")
    assert after.fingerprint == before.fingerprint
    assert (after.mounts.jobs, after.digests) == (before.mounts.jobs, before.digests)


def test_a_job_that_failed_is_said_and_mended_by_one_that_succeeds(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(FIRST)
    (pod,) = pods.wait(job="first-1")
    pods.fail(pod, 10, jobs.record("first", "UserError", message="train.jsonl:61: no JSON"))
    jobs.wait("first", "Failed")
    jobs.apply(SECOND)
    said = jobs.wait_condition("second", "Accepted", "JobNotSucceeded")["message"]
    assert "train.jsonl:61" in said
    jobs.delete("first")
    until(lambda: "first" not in jobs.names() and jobs.children() == [], "the first job to go")
    jobs.apply(FIRST)
    finish(jobs, pods, "first")
    pods.wait(job="second-1")


def test_jobs_that_wait_for_one_another_are_told_so(jobs: Jobs) -> None:
    jobs.apply(FIRST.with_spec(model={"job": {"name": "second"}}))
    jobs.apply(SECOND)
    assert "second for first, first for second" in jobs.wait_condition("second", "Accepted", "JobCycle")["message"]


def test_a_job_that_names_itself_is_refused_by_the_api_server(jobs: Jobs) -> None:
    with pytest.raises(client.ApiException, match="names the job itself"):
        jobs.apply(SECOND.named("first"))


def test_a_branch_starts_as_soon_as_the_checkpoint_is_there(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(FIRST)
    (pod,) = pods.wait(job="first-1")
    pods.run(pod)
    jobs.wait("first", "Running")
    start = {"job": {"name": "first"}, "step": 100}
    jobs.apply(a_manifest().named("branch").with_spec(checkpoint={"from": start}))
    assert "step 100" in jobs.wait_condition("branch", "Running", "WaitingForJob")["message"]
    pods.terminate_with(14, jobs.record("first", "Interrupted", step=120, checkpoint={"latest": {"step": 120}}))
    jobs.apply(FIRST.suspended())
    jobs.wait("first", "Suspended")
    (pod,) = pods.wait(job="branch-1")
    results = jobs.status("first")["effective"]["results"]
    mounts = {mount.mount_path: mount for mount in pod.spec.containers[0].volume_mounts}
    assert mounts[config_of(jobs, "branch-1").mounts.jobs["first"]].sub_path == results
