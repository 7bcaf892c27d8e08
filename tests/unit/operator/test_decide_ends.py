"""What is decided about the end of an attempt: what follows, at whose cost, and how soon."""

import pytest

from finetune_api.trainer_contract import TrainerConfig
from finetune_api.v1alpha1.status import EffectiveStatus, Restarts
from tests.builders.decisions import decided, kinds, phase, reason_of
from tests.builders.observations import NOW, a_job, past


@pytest.mark.parametrize(
    ("kind", "code", "outcome", "failure"),
    [
        ("Finished", 0, "Succeeded", None),
        ("UserError", 10, "Failed", "UserError"),
        ("DeviceOutOfMemory", 11, "Retrying", "DeviceOutOfMemory"),
        ("HostOutOfMemory", 12, "Retrying", "HostOutOfMemory"),
        ("Diverged", 13, "Failed", "Diverged"),
        ("Interrupted", 14, "Retrying", "Interrupted"),
        ("Hang", 15, "Retrying", "Hang"),
        ("DeviceUnavailable", 16, "Retrying", "DeviceUnavailable"),
        ("InternalError", 1, "Retrying", "Crash"),
    ],
)
@pytest.mark.parametrize("recorded", [True, False], ids=["with a record", "by the exit code alone"])
def test_each_end_has_its_outcome(kind: str, code: int, outcome: str, failure: str | None, recorded: bool) -> None:
    decision = decided(a_job().running().ended(kind if recorded else None, code))
    assert phase(decision) == outcome
    assert decision.status is not None
    assert (decision.status.failure.reason if decision.status.failure else None) == failure
    assert decision.status.attempt == (2 if outcome == "Retrying" else 1)


@pytest.mark.parametrize(
    ("kind", "charged"),
    [
        ("InternalError", "failures"),
        ("DeviceUnavailable", "failures"),
        ("Hang", "hangs"),
        ("Interrupted", "disruptions"),
        ("DeviceOutOfMemory", "out_of_memory"),
    ],
)
def test_each_end_is_counted_under_its_cause(kind: str, charged: str) -> None:
    status = decided(a_job().running().ended(kind)).status
    assert status is not None
    assert status.restarts == Restarts(**{"total": 1, charged: 1})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"disruption": "PreemptionByScheduler"}, "Preempted"),
        ({"disruption": "EvictionByEvictionAPI"}, "Evicted"),
        ({"disruption": "DeletionByTaintManager"}, "NodeLost"),
        ({"delete_asked": NOW}, "PodDeleted"),
        ({"exit_code": None, "gone": True}, "PodDeleted"),
    ],
)
def test_a_disruption_costs_no_retry(fields: dict[str, object], reason: str) -> None:
    job = a_job().with_spec(retryPolicy={"maxRetries": 0}).running().ended(None, 137)
    decision = decided(job.with_pods(**fields))
    assert phase(decision) == "Retrying"
    assert decision.status is not None
    assert decision.status.history is not None
    assert decision.status.history[-1].reason == reason


def test_a_kill_for_memory_is_no_crash() -> None:
    decision = decided(a_job().running().ended(None, 137).with_pods(end_reason="OOMKilled"))
    assert decision.status is not None
    assert decision.status.failure is not None
    assert decision.status.failure.reason == "HostOutOfMemory"


@pytest.mark.parametrize(("steps", "charged"), [([5, 5, 5, 5], True), ([5, 5, 6, 6], False)])
def test_disruptions_without_a_new_checkpoint_count_as_a_failure_in_the_end(steps: list[int], charged: bool) -> None:
    history = [past("Evicted", n + 1, to_step=step) for n, step in enumerate(steps)]
    job = a_job().with_status(history=history).running(attempt=5)
    decision = decided(job.ended("Interrupted", 14, checkpoint={"latest": {"step": steps[-1]}}))
    assert decision.status is not None
    assert decision.status.restarts is not None
    assert (decision.status.restarts.failures == 1) is charged


def test_retries_run_out() -> None:
    job = a_job().with_status(restarts=Restarts(total=3, failures=2, hangs=1)).running(attempt=4)
    decision = decided(job.ended("InternalError"))
    assert phase(decision) == "Failed"
    assert reason_of(decision, "Failed") == "RetriesExhausted"


@pytest.mark.parametrize(("failures", "seconds"), [(1, 10), (2, 20), (3, 40), (9, 300)])
def test_the_backoff_doubles_up_to_its_limit(failures: int, seconds: float) -> None:
    job = a_job().with_spec(retryPolicy={"maxRetries": 20}).in_phase("Retrying", failures + 1)
    job = job.with_status(history=[past("Crash")], restarts=Restarts(total=failures, failures=failures))
    early = decided(job, later=seconds - 1)
    assert (early.create, early.again_after) == ((), pytest.approx(1))
    assert kinds(decided(job, later=seconds + 1))[-1] == "Job"


def test_a_volume_that_is_full_is_named_and_not_tried_again_at_once() -> None:
    said = {"message": "The volume of the results is full", "advice": "Free space on it."}
    ended = a_job().running().ended("InternalError", cause="VolumeFull", **said)
    decision = decided(ended)
    assert phase(decision) == "Retrying"
    assert decision.status is not None
    assert decision.status.restarts == Restarts(total=1, failures=1)
    assert decision.status.failure is not None
    assert (decision.status.failure.reason, decision.status.failure.advice) == ("VolumeFull", "Free space on it.")
    assert decision.again_after == pytest.approx(300)
    unknown = decided(a_job().running().ended("InternalError", cause="whatever a pod says")).status
    assert unknown is not None
    assert unknown.failure is not None
    assert unknown.failure.reason == "Crash"


def test_a_job_deleted_by_hand_is_an_end() -> None:
    decision = decided(a_job().running().without_child())
    assert phase(decision) == "Retrying"
    assert decision.status is not None
    assert decision.status.attempt == 2


def test_a_pod_that_its_node_cannot_end_is_looked_at_after_a_minute() -> None:
    job = a_job().running().with_pods(delete_by=NOW, delete_asked=NOW)
    assert decided(job).again_after == pytest.approx(61)


@pytest.mark.parametrize(("batch", "accumulation", "expected"), [(8, 1, (4, 2)), (6, 2, (3, 4)), (7, 1, (1, 7))])
def test_memory_shrinks_the_batch_and_keeps_the_product(
    batch: int, accumulation: int, expected: tuple[int, int]
) -> None:
    effective = {"perDeviceBatchSize": batch, "gradientAccumulationSteps": accumulation}
    decision = decided(a_job().running().ended("DeviceOutOfMemory", 11, effective=effective))
    assert decision.status is not None
    found = decision.status.effective
    assert found is not None
    assert (found.per_device_batch_size, found.gradient_accumulation_steps) == expected
    assert any("memory" in line for line in found.because or ())


def test_one_example_that_does_not_fit_fails_with_advice() -> None:
    decision = decided(a_job().running().ended("DeviceOutOfMemory", 11, effective={"perDeviceBatchSize": 1}))
    assert phase(decision) == "Failed"
    assert decision.status is not None
    assert decision.status.failure is not None
    assert "maxSequenceLength" in (decision.status.failure.advice or "")


def test_the_host_gets_one_more_try_though_history_has_forgotten_the_first() -> None:
    once = decided(a_job().running().ended("HostOutOfMemory", 12)).status
    assert once is not None
    assert once.phase == "Retrying"
    forgotten = a_job().with_(status=once).with_status(history=[past("Evicted", 1)]).running(attempt=2)
    assert phase(decided(forgotten.ended("HostOutOfMemory", 12))) == "Failed"


def test_what_was_learnt_of_memory_reaches_the_next_attempt() -> None:
    effective = EffectiveStatus(per_device_batch_size=4, gradient_accumulation_steps=2, image="image:of-the-first")
    job = a_job().in_phase("Retrying", 2).with_status(effective=effective, restarts=Restarts(total=1, out_of_memory=1))
    container = decided(job).create[-1]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "image:of-the-first"
    config = TrainerConfig.decode(container["env"][0]["value"])
    assert config.adaptation.per_device_batch_size == 4
    assert config.attempt == 2


def test_the_history_keeps_the_last_twenty_runs() -> None:
    history = [past("Crash", number + 1) for number in range(20)]
    policy = {"maxRetries": 100}
    job = a_job().with_spec(retryPolicy=policy).with_status(history=history).running(attempt=21)
    status = decided(job.ended("InternalError")).status
    assert status is not None
    assert status.history is not None
    assert [entry.attempt for entry in status.history] == list(range(2, 22))
