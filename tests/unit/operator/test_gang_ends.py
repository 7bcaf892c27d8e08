"""Which of a gang's pods says why an attempt ended: the one that failed first, not those that were ended for it."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from finetune_api.v1alpha1.status import Failure, FineTuneJobStatus
from finetune_operator.decide import decide
from finetune_operator.observation import Pod
from finetune_operator.settings import Settings
from tests.builders.observations import NOW, UID, JobSeen, a_job

SETTINGS = Settings()
GONE = {"kind": "InternalError", "collateral": True, "node": 1, "message": "Node 1 was lost."}


def a_gang(*pods: Pod, gpus: int = 0) -> JobSeen:
    """An attempt of two nodes that has failed."""
    job = a_job().with_spec(compute={"nodes": 2, "gpusPerNode": gpus}, storage={"claim": {"name": "shared"}})
    seen = job.running().build()
    assert seen.child is not None
    return job.running().with_(
        pods=tuple(replace(pod, name=f"python-coder-1-{pod.index}") for pod in pods),
        child=replace(seen.child, failed="BackoffLimitExceeded: the pod failed", ended=NOW),
    )


def a_pod(index: int, code: int | None, record: dict[str, Any] | None = None, **fields: Any) -> Pod:
    """A pod of the gang that has ended."""
    (base,) = a_job().running().build().pods
    message = None if record is None else json.dumps({"uid": UID, "attempt": 1, **record})
    ended = {"phase": "Failed", "exit_code": code, "finished": NOW, "node": f"node-{index}", "message": message}
    return replace(base, index=index, **{**ended, **fields})


def after(job: JobSeen) -> FineTuneJobStatus:
    status = decide(job.build(), SETTINGS, NOW).status
    assert status is not None
    return status


def failure_of(job: JobSeen) -> Failure:
    status = after(job)
    assert status.failure is not None
    return status.failure


def test_the_pod_that_was_ended_with_the_gang_is_not_blamed_though_it_ended_first() -> None:
    cause = {"kind": "InternalError", "rank": 1, "exitCode": 1, "message": "ValueError: boom", "node": 1}
    noticed = {**cause, "collateral": True, "checkpoint": {"latest": {"step": 40}}, "step": 55, "run": 1}
    early = a_pod(0, 1, noticed, finished=NOW - timedelta(seconds=5))
    status = after(a_gang(early, a_pod(1, 1, cause)))
    failure = status.failure
    assert failure is not None
    assert (failure.reason, failure.rank, failure.node, failure.exit_code) == ("Crash", 1, "node-1", 1)
    assert failure.message == "ValueError: boom"
    assert status.checkpoint is not None
    assert status.checkpoint.latest is not None
    assert status.checkpoint.latest.step == 40, "rank 0's pod knows how far it was"
    assert status.history is not None
    assert (status.history[-1].run, status.history[-1].to_step) == (1, 40)


@pytest.mark.parametrize(
    ("pod", "reason", "node"),
    [
        (a_pod(1, 137), "Crash", "node-1"),
        (a_pod(1, 137, end_reason="OOMKilled"), "HostOutOfMemory", "node-1"),
        (a_pod(1, 137, disruption="EvictionByEvictionAPI"), "Evicted", "node-1"),
        (a_pod(1, None, end_reason="NodeLost", gone=True), "NodeLost", "node-1"),
        (a_pod(1, None, gone=True), "PodDeleted", "node-1"),
    ],
)
def test_a_pod_that_could_say_nothing_is_judged_by_its_cluster(pod: Pod, reason: str, node: str) -> None:
    failure = failure_of(a_gang(a_pod(0, 1, GONE), pod))
    assert (failure.reason, failure.node, failure.rank) == (reason, node, 1)
    assert "Node 1 was lost" not in (failure.message or "")


def test_a_pod_that_is_gone_without_a_trace_is_known_from_the_others() -> None:
    hang = {"kind": "Hang", "rank": 1, "node": 1, "message": "Rank 1 stands still.", "collateral": True}
    failure = failure_of(a_gang(a_pod(0, 15, hang), a_pod(1, 15)))
    assert (failure.reason, failure.rank, failure.node) == ("Hang", 1, "node-1")


NOTICED = {"kind": "InternalError", "collateral": True, "rank": 0, "node": 0, "message": "Connection reset by peer"}
TOLD = {"kind": "InternalError", "collateral": True, "rank": 1, "node": 1, "message": "Rank 1 was killed by SIGKILL."}


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        ([a_pod(0, 1, GONE), a_pod(1, 1, {**GONE, "node": 0})], "Disrupted"),
        ([a_pod(0, 1, NOTICED), a_pod(1, 1, {**NOTICED, "rank": 1, "node": 1})], "Disrupted"),
        ([a_pod(0, 1, GONE)], "Disrupted"),
        ([a_pod(0, 1, TOLD)], "Crash"),
        ([a_pod(0, 1, TOLD), a_pod(1, 1, {**GONE, "node": 0})], "Crash"),
        ([a_pod(0, 15, {**GONE, "kind": "Hang"})], "Hang"),
    ],
    ids=[
        "the nodes lost one another", "the ranks lost one another", "the other pod is gone",
        "the other pod is gone and had said why", "one heard why", "a node stood still",
    ],
)  # fmt: skip
def test_an_attempt_without_a_known_fault_was_disrupted(pods: list[Pod], reason: str) -> None:
    status = after(a_gang(*pods))
    assert status.history is not None
    assert status.history[-1].reason == reason
    assert status.restarts is not None
    assert (status.restarts.disruptions or 0) == (reason == "Disrupted"), "which is free of charge"
    assert ((status.restarts.failures or 0) + (status.restarts.hangs or 0) == 0) == (reason == "Disrupted")


def test_the_rank_that_failed_first_is_told_by_its_own_clock() -> None:
    first = {"kind": "InternalError", "rank": 1, "message": "first", "endedAt": "2026-01-02T03:04:04.200Z"}
    second = {"kind": "InternalError", "rank": 0, "message": "second", "endedAt": "2026-01-02T03:04:04.900Z"}
    assert failure_of(a_gang(a_pod(0, 1, second), a_pod(1, 1, first))).message == "first"
    nonsense = {**second, "endedAt": "yesterday"}
    assert failure_of(a_gang(a_pod(0, 1, nonsense), a_pod(1, 1, first))).message == "first"


def test_a_rank_is_not_guessed_where_a_pod_has_several() -> None:
    failure = failure_of(a_gang(a_pod(0, 1, GONE), a_pod(1, 137), gpus=8))
    assert failure.rank is None
    assert failure.node == "node-1"


def test_the_cause_stays_in_the_history_when_a_later_attempt_succeeds() -> None:
    cause = {"kind": "InternalError", "rank": 0, "exitCode": 1, "message": "ValueError: " + "x" * 2000}
    failed = after(a_job().running().ended("InternalError", 1, **{k: v for k, v in cause.items() if k != "kind"}))
    assert failed.history is not None
    kept = failed.history[-1].failure
    assert kept is not None
    assert (kept.reason, kept.rank, kept.exit_code, kept.node) == ("Crash", 0, 1, "node-a")
    assert kept.message is not None
    assert len(kept.message) == 500
    assert kept.advice
    done = after(a_job().with_(status=failed).running(attempt=2).ended("Finished"))
    assert done.failure is None
    assert done.history is not None
    assert [entry.failure.reason if entry.failure else None for entry in done.history] == ["Crash", None]
