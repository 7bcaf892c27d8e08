"""What each end of an attempt leads to, against a real API server and its real Job controller."""

import pytest

from tests.builders.manifests import a_manifest
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until
from tests.integration.jobs import FINISHED, JOB, Jobs, running
from tests.integration.operator_process import OperatorProcess

pytestmark = pytest.mark.usefixtures("operator")
AT_100 = {"latest": {"step": 100}, "count": 1}


def quick(**policy: int) -> dict[str, int]:
    return {"backoffSeconds": 0, **policy}


def test_a_crash_is_tried_again_from_the_checkpoint(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().retrying(**quick()))
    pods.fail(running(jobs, pods), 1, jobs.record(JOB, "InternalError", message="boom", checkpoint=AT_100))
    pods.succeed(running(jobs, pods, 2), jobs.record(JOB, "Finished", attempt=2, **FINISHED))
    status = jobs.wait(JOB, "Succeeded")
    assert status["restarts"]["failures"] == 1
    ends = [(entry["reason"], entry.get("toStep")) for entry in status["history"]]
    assert ends == [("Crash", 100), ("Finished", 400)]
    assert jobs.children() == [f"{JOB}-1", f"{JOB}-2"]  # the last failure's log stays


def test_retries_wait_for_their_backoff(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().retrying(backoffSeconds=3600, maxBackoffSeconds=3600))
    pods.fail(running(jobs, pods), 1)
    assert jobs.wait(JOB, "Retrying")["attempt"] == 2
    assert jobs.children() == [f"{JOB}-1"]


def test_a_backoff_goes_on_over_a_restart_of_the_operator(
    jobs: Jobs, pods: PodPlayer, operator: OperatorProcess
) -> None:
    jobs.apply(a_manifest().retrying(backoffSeconds=4))
    pods.fail(running(jobs, pods), 1)
    ended = jobs.wait(JOB, "Retrying")["history"][0]["ended"]
    operator.kill()
    operator.start()
    pods.wait(job=f"{JOB}-2")
    assert jobs.seconds_between(ended, jobs.child(f"{JOB}-2")["metadata"]["creationTimestamp"]) >= 4
    assert jobs.status(JOB)["restarts"]["failures"] == 1


def test_a_job_fails_when_its_retries_are_used_up(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().retrying(**quick(maxRetries=1)))
    pods.fail(running(jobs, pods), 139)
    pods.fail(running(jobs, pods, 2), 139)
    status = jobs.wait(JOB, "Failed")
    assert jobs.condition(JOB, "Failed")["reason"] == "RetriesExhausted"
    assert (status["failure"]["reason"], status["failure"]["signal"]) == ("Crash", "SIGSEGV")
    assert status["failure"]["node"] == "played-node"


def test_a_user_error_is_never_tried_again(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest())
    said = {"message": "train.jsonl:7: no such column: prompt", "advice": "Name the column in dataset.columns."}
    pods.fail(running(jobs, pods), 10, jobs.record(JOB, "UserError", **said))
    failure = jobs.wait(JOB, "Failed")["failure"]
    assert (failure["reason"], failure["message"], failure["advice"]) == ("UserError", said["message"], said["advice"])
    assert jobs.children() == [f"{JOB}-1"]


def test_an_eviction_costs_no_retry(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().retrying(**quick(maxRetries=0)))
    pods.evict(running(jobs, pods))
    running(jobs, pods, 2)
    status = jobs.status(JOB)
    assert (status["restarts"]["disruptions"], status["restarts"]["failures"]) == (1, 0)
    assert status["history"][0]["reason"] == "Evicted"


def test_a_deleted_pod_costs_no_retry(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().retrying(**quick(maxRetries=0)))
    pod = running(jobs, pods)
    pods.terminate_with(14, jobs.record(JOB, "Interrupted", step=100, checkpoint=AT_100))
    pods.delete(pod)
    running(jobs, pods, 2)
    status = jobs.status(JOB)
    assert status["restarts"]["disruptions"] == 1
    assert status["checkpoint"]["latest"]["step"] == 100


def test_out_of_memory_goes_on_with_a_smaller_batch(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().retrying(**quick(maxRetries=0)))
    pods.fail(running(jobs, pods), 11, jobs.record(JOB, "DeviceOutOfMemory"))
    running(jobs, pods, 2)
    effective = jobs.status(JOB)["effective"]
    assert (effective["perDeviceBatchSize"], effective["gradientAccumulationSteps"]) == (4, 2)
    until(lambda: "Adapted" in jobs.events(JOB), "the event")


def test_a_container_killed_for_memory_is_named_so(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().retrying(onOutOfMemory="Fail"))
    pods.fail(running(jobs, pods), 137, reason="OOMKilled")
    failure = jobs.wait(JOB, "Failed")["failure"]
    assert failure["reason"] == "HostOutOfMemory"
    assert "compute.memory" in failure["advice"]


def test_the_rank_that_failed_first_is_named_and_kept_when_its_pods_are_gone(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().on_nodes(2).retrying(**quick()))
    first, second = pods.wait(2, job=f"{JOB}-1")
    pods.run(first)
    pods.run(second, node="second-played-node")
    jobs.wait(JOB, "Running")
    at_fault = {
        "rank": 1, "node": 1, "exitCode": -11, "signal": "SIGSEGV", "endedAt": "2026-01-01T00:00:00.250Z",
        "message": "Fatal Python error: Segmentation fault\n  File \"loss.py\", line 7 in forward",
        "advice": "Look for a native extension in loss.py.",
    }  # fmt: skip
    lost_its_peer = {"collateral": True, "rank": 1, "node": 1, "message": "node 1 said that its rank 1 had failed"}
    pods.fail(first, 1, jobs.record(JOB, "InternalError", checkpoint=AT_100, **lost_its_peer))  # it is the first to go
    pods.fail(second, 1, jobs.record(JOB, "InternalError", **at_fault))

    for pod in pods.wait(2, job=f"{JOB}-2"):
        pods.run(pod)
    jobs.wait(JOB, "Running")
    jobs.delete_child(f"{JOB}-1")
    pods.wait_gone(first)
    pods.wait_gone(second)
    status = jobs.status(JOB)
    failure = status["failure"]
    assert failure == {"attempt": 1, **status["history"][0]["failure"]}
    said = {name: failure[name] for name in ("rank", "exitCode", "signal", "message", "advice", "node")}
    assert said == {name: at_fault[name] for name in said} | {"node": "second-played-node"}
    assert failure["reason"] == "Crash"
    assert status["checkpoint"]["latest"]["step"] == 100
    assert status["restarts"]["total"] == 1


def test_a_secret_that_is_missing_is_named(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest())
    (pod,) = pods.wait()
    pods.stick(pod, "CreateContainerConfigError", 'secret "hub" not found')
    condition = jobs.wait_condition(JOB, "Running", "SecretNotFound", timeout=15)
    assert 'secret "hub" not found' in condition["message"]


def test_pods_that_do_not_start_in_time_are_given_up(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().retrying(startDeadlineSeconds=10, maxRetries=0))
    (pod,) = pods.wait()
    pods.stick(pod, "ImagePullBackOff", "no such image")
    failure = jobs.wait(JOB, "Failed", timeout=40)["failure"]
    assert failure["reason"] == "StartDeadlineExceeded"
    assert "no such image" in failure["message"]
    until(lambda: jobs.children() == [], "what was held to be released")


def test_the_active_time_is_limited(jobs: Jobs, pods: PodPlayer) -> None:
    jobs.apply(a_manifest().with_spec(activeDeadlineSeconds=2))
    running(jobs, pods)
    jobs.wait(JOB, "Failed")
    assert jobs.condition(JOB, "Failed")["reason"] == "DeadlineExceeded"
    assert jobs.status(JOB)["activeSeconds"] >= 2
