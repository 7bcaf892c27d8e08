"""What is decided about a job that is to pause or to end: asked for, at its deadline, or for good."""

from datetime import timedelta
from typing import Any

import pytest

from finetune_api.v1alpha1.status import Failure, Restarts
from finetune_operator.draft import Decision
from tests.builders.decisions import decided, phase, reason_of, reasons
from tests.builders.observations import NOW, JobSeen, a_job, past


@pytest.mark.parametrize("state", ["Succeeded", "Failed", "Cancelled"])
@pytest.mark.parametrize("child", [True, False])
def test_terminal_is_terminal(state: str, child: bool) -> None:
    job = a_job().running() if child else a_job()
    decision = decided(job.in_phase(state).suspended())
    assert decision == Decision()


@pytest.mark.parametrize(("age", "deleted"), [(59, False), (61, True)])
def test_a_finished_job_is_deleted_after_its_time_to_live(age: float, deleted: bool) -> None:
    job = a_job().with_spec(ttlSecondsAfterFinished=60).in_phase("Succeeded")
    ended = job.with_status(completion_time=NOW.strftime("%Y-%m-%dT%H:%M:%SZ"))
    decision = decided(ended, later=age)
    assert decision.delete_job is deleted
    assert deleted or decision.again_after == pytest.approx(1)


def test_a_change_of_a_finished_job_is_noted_and_nothing_else() -> None:
    job = a_job().in_phase("Succeeded").with_(generation=2)
    status = decided(job).status
    assert status is not None
    assert status.observed_generation == 2
    assert decided(job.with_(status=status)) == Decision()


def test_a_job_under_deletion_is_left_alone() -> None:
    assert decided(a_job().running().being_deleted()) == Decision()


def test_a_job_created_suspended_makes_nothing() -> None:
    decision = decided(a_job().suspended())
    assert (phase(decision), decision.create) == ("Suspended", ())


@pytest.mark.parametrize("job", [a_job().starting(), a_job().running()], ids=["starting", "running"])
def test_suspending_deletes_the_child_and_waits_for_its_end(job: JobSeen) -> None:
    decision = decided(job.suspended())
    assert [child.name for child in decision.delete] == ["python-coder-1"]
    assert phase(decision) == "Suspending"
    assert decided(job.in_phase("Suspending").suspended().child_deleting()).delete == ()


def test_a_job_whose_pods_are_gone_is_suspended_at_its_checkpoint() -> None:
    job = a_job().running().in_phase("Suspending").suspended()
    decision = decided(job.ended("Interrupted", 14, checkpoint={"latest": {"step": 120}}))
    assert phase(decision) == "Suspended"
    assert decision.status is not None
    assert decision.status.attempt == 2
    assert decision.status.restarts is None
    assert decision.status.checkpoint is not None
    assert decision.status.checkpoint.latest is not None
    assert decision.status.checkpoint.latest.step == 120


def test_a_success_counts_although_the_job_was_to_be_suspended() -> None:
    assert phase(decided(a_job().running().in_phase("Suspending").suspended().ended("Finished"))) == "Succeeded"


def test_resuming_starts_the_next_attempt() -> None:
    job = a_job().in_phase("Suspended", attempt=2).with_status(history=[past("Suspended")])
    decision = decided(job)
    assert decision.create[-1]["metadata"]["name"] == "python-coder-2"


def test_a_suspension_taken_back_during_the_shutdown_goes_on_for_free() -> None:
    decision = decided(a_job().running().in_phase("Suspending").ended("Interrupted", 14))
    assert phase(decision) == "Retrying"
    assert decision.status is not None
    assert decision.status.restarts == Restarts(total=1, disruptions=1)


@pytest.mark.parametrize("job", [a_job(), a_job().in_phase("Suspended"), a_job().in_phase("Retrying", 2)])
def test_cancelling_without_an_attempt_ends_the_job(job: JobSeen) -> None:
    assert phase(decided(job.cancelled())) == "Cancelled"


def test_cancelling_a_running_job_deletes_the_child_first() -> None:
    job = a_job().running().cancelled()
    decision = decided(job)
    assert [child.name for child in decision.delete] == ["python-coder-1"]
    assert phase(decided(job.ended("Interrupted", 14))) == "Cancelled"


def test_a_pause_at_the_deadline_is_the_end() -> None:
    job = a_job().with_spec(activeDeadlineSeconds=60).running(since=60).in_phase("Suspending").suspended()
    status = decided(job.ended("Interrupted", 14)).status
    assert status is not None
    assert (status.phase, status.attempt, status.active_seconds) == ("Failed", 1, 60)


@pytest.mark.parametrize("job", [a_job().running(), a_job().running().suspended(), a_job().running().cancelled()])
def test_nothing_follows_a_job_deleted_in_the_background_while_its_pods_run(job: JobSeen) -> None:
    decision = decided(job.with_(child=None))
    assert (decision.create, decision.delete, decision.status) == ((), (), None)
    assert decision.again_after == 30
    assert decided(job.ended("Interrupted", 14).with_(child=None)).status is not None


def test_active_time_adds_up_to_the_deadline() -> None:
    job = a_job().with_spec(activeDeadlineSeconds=100).with_status(active_seconds=50).running(since=40)
    before = decided(job)
    assert before.delete == ()
    assert before.again_after == pytest.approx(10)
    assert phase(decided(job.ended("Interrupted", 14))) == "Retrying"
    late = job.with_spec(activeDeadlineSeconds=80)
    ended = decided(late.ended("Interrupted", 14))
    assert reason_of(ended, "Failed") == "DeadlineExceeded"
    assert ended.status is not None
    assert ended.status.failure is not None
    assert ended.status.failure.reason == "DeadlineExceeded"


@pytest.mark.parametrize(("kind", "code"), [("Interrupted", 14), (None, 137)], ids=["saved", "killed after its grace"])
def test_a_deadline_that_was_written_down_holds_whatever_the_clock_of_the_node_says(
    kind: str | None, code: int
) -> None:
    job = a_job().with_spec(activeDeadlineSeconds=60).running(since=61)
    first = decided(job)
    assert (first.delete, reasons(first)) == ((), [])
    assert first.status is not None
    assert first.status.failure is not None
    assert first.status.failure.reason == "DeadlineExceeded"
    intended = job.with_(status=first.status)
    second = decided(intended)
    assert [child.name for child in second.delete] == ["python-coder-1"]
    assert second.again_after is not None
    assert second.again_after > 1, "its pods have their grace"
    early = NOW - timedelta(seconds=20)
    ended = intended.ended(kind, code).with_pods(finished=early, delete_asked=early)
    last = decided(ended)
    assert last.status is not None
    assert (last.status.phase, reason_of(last, "Failed"), reasons(last)) == (
        "Failed",
        "DeadlineExceeded",
        ["DeadlineExceeded"],
    )
    assert last.status.history is not None
    assert last.status.history[-1].reason == "DeadlineExceeded"
    assert phase(decided(ended.cancelled())) == "Cancelled"
    assert phase(decided(ended.with_spec(activeDeadlineSeconds=3600))) == "Retrying", "it was raised in time"
    assert phase(decided(intended.ended("Finished"))) == "Succeeded"


@pytest.mark.parametrize(
    "more", [{"activeDeadlineSeconds": 3600}, {"activeDeadlineSeconds": None}], ids=["raised", "gone"]
)
def test_a_deadline_that_is_raised_before_the_job_goes_has_ended_nothing(more: dict[str, Any]) -> None:
    crash = Failure(reason="Crash", message="rank 0 fell over")
    history = [past("Crash", seconds_ago=600).model_copy(update={"failure": crash})]
    job = a_job().with_spec(activeDeadlineSeconds=60).with_status(history=history).running(attempt=2, since=61)
    late = decided(job).status
    assert late is not None
    assert late.failure is not None
    assert late.failure.reason == "DeadlineExceeded"
    mended = job.with_(status=late).with_spec(**more)
    after = decided(mended)
    assert after.delete == ()
    assert after.status is not None
    assert after.status.failure == crash.model_copy(update={"attempt": 1}), "what did end a run is the last failure"
    paused = decided(mended.with_spec(suspend=True).ended("Interrupted", 14)).status
    assert paused is not None
    assert (paused.phase, paused.failure) == ("Suspended", after.status.failure)


def test_a_queue_or_a_pause_uses_no_active_time() -> None:
    job = a_job().with_spec(activeDeadlineSeconds=100).with_status(active_seconds=99)
    assert phase(decided(job.in_phase("Suspended", 2).suspended(), later=10_000)) is None
