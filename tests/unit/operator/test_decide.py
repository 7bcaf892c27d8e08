"""The decision about a job, over its phases, ends, flags and the clock; everything here is a value."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from finetune_api.trainer_contract import TrainerConfig
from finetune_api.v1alpha1.status import EffectiveStatus, Failure, Restarts
from finetune_operator import recording, times
from finetune_operator.conditions import find
from finetune_operator.decide import decide
from finetune_operator.draft import Decision
from finetune_operator.observation import Observation, Obstacle, Pod, newest
from finetune_operator.settings import Settings
from finetune_operator.stages.at_rest import SHORTEST_SETTLING
from tests.builders.observations import NOW, JobSeen, a_job, a_pod, past

SETTINGS = Settings()


def decided(job: JobSeen, later: float = 0) -> Decision:
    return decide(job.build(), SETTINGS, NOW + timedelta(seconds=later))


def phase(decision: Decision) -> str | None:
    return decision.status.phase if decision.status else None


def kinds(decision: Decision) -> list[str]:
    return [document["kind"] for document in decision.create]


def reasons(decision: Decision) -> list[str]:
    """What is said, by its reasons."""
    return [note.reason for note in decision.notes]


def reason_of(decision: Decision, condition: str) -> str | None:
    conditions = (decision.status.conditions if decision.status else None) or []
    return next((c.reason for c in conditions if c.type == condition), None)


def test_a_new_job_is_started() -> None:
    decision = decided(a_job())
    assert kinds(decision) == ["NetworkPolicy", "Job"]
    assert decision.status is None, "pods that run at once save a write"
    assert decision.again_after == pytest.approx(SHORTEST_SETTLING)


def test_a_first_attempt_that_does_not_run_at_once_is_said_to_start() -> None:
    job = a_job().starting().with_status(phase=None, attempt=None, start_time=None)
    assert decided(job.with_(made_ago=SHORTEST_SETTLING / 2)).status is None
    decision = decided(job.with_(made_ago=SHORTEST_SETTLING))
    assert phase(decision) == "Starting"
    assert decision.status is not None
    assert (decision.status.attempt, decision.status.observed_generation) == (1, 1)
    assert reasons(decision) == ["Started"]


def test_first_words_wait_longer_where_many_jobs_begin_at_once() -> None:
    job = a_job().starting().with_status(phase=None, attempt=None, start_time=None).with_(made_beside=200)
    assert decided(job.with_(made_ago=9.0)).status is None
    assert phase(decided(job.with_(made_ago=10.0))) == "Starting"
    stuck = job.stuck("Unschedulable: no node has 8 GPUs").with_(made_ago=9.0)
    assert phase(decided(stuck)) == "Starting", "a trouble is said at once"


def test_a_first_job_that_went_before_anything_was_said_is_written_down_and_not_made_again() -> None:
    decision = decided(a_job().with_(made_ago=SHORTEST_SETTLING / 2))
    assert kinds(decision) == []
    assert phase(decision) == "Starting"


OF_AN_EARLIER_JOB = a_pod(phase="Running", delete_by=NOW, created=NOW - timedelta(hours=1))
OF_ITS_OWN = a_pod(phase="Running", delete_by=NOW, created=NOW)


@pytest.mark.parametrize("where", ["pods", "left_over"], ids=["of the first attempt", "of a later one"])
@pytest.mark.parametrize(
    ("job", "pod"),
    [
        (a_job(), OF_AN_EARLIER_JOB),
        (a_job(), OF_ITS_OWN),
        (a_job().suspended(), OF_ITS_OWN),
        (a_job().cancelled(), OF_ITS_OWN),
        (a_job().in_phase("Suspended"), OF_AN_EARLIER_JOB),
    ],
    ids=["begins", "begins beside its own", "suspended beside its own", "cancelled beside its own", "resumed"],
)
def test_nothing_begins_beside_pods_of_another_job_of_that_name(job: JobSeen, pod: Pod, where: str) -> None:
    seen = job.with_(**{where: (pod,)})
    decision = decided(seen)
    assert kinds(decision) == []
    assert (phase(decision), reason_of(decision, "Running")) == ("Pending", "WaitingForPods")
    assert reasons(decision) == ["WaitingForPods"]
    assert decision.again_after == 30
    assert decided(seen.with_(status=decision.status)).status is None


@pytest.mark.parametrize("where", ["pods", "left_over"], ids=["of the first attempt", "of a later one"])
@pytest.mark.parametrize(
    ("asked", "follows"), [({"suspend": True}, "Suspended"), ({"cancel": True}, "Cancelled")], ids=["suspend", "cancel"]
)
def test_a_job_that_waits_for_pods_of_an_earlier_one_is_stopped_at_once(
    asked: dict[str, bool], follows: str, where: str
) -> None:
    seen = a_job().with_(**{where: (OF_AN_EARLIER_JOB,)})
    waiting = seen.with_(status=decided(seen).status)
    decision = decided(waiting.with_spec(**asked))
    assert (phase(decision), kinds(decision), reasons(decision)) == (follows, [], [follows])
    assert decided(waiting.with_spec(**asked).with_(status=decision.status)).status is None


def test_pods_that_are_gone_are_waited_for_no_longer() -> None:
    assert kinds(decided(a_job().with_(pods=(a_pod(phase="Running").as_gone(),)))) == ["NetworkPolicy", "Job"]


@pytest.mark.parametrize("asked", ["suspend", "cancel"])
def test_an_attempt_that_is_to_stop_at_once_is_not_waited_for(asked: str) -> None:
    job = a_job().starting().with_status(phase=None, attempt=None, start_time=None)
    assert decided(job.with_spec(**{asked: True}).with_(made_ago=0.0)).delete


def test_deciding_twice_gives_the_same() -> None:
    assert decided(a_job()) == decided(a_job())


def test_what_was_decided_needs_no_second_write() -> None:
    new = a_job().starting().with_status(phase=None, attempt=None, start_time=None)
    started = decided(new).status
    assert started is not None
    seen = a_job().starting().with_(status=started)
    assert decided(seen).status is None


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


@pytest.mark.parametrize("state", [None, "Pending", "Retrying"])
def test_a_child_that_was_never_made_is_made_under_the_same_name(state: str | None) -> None:
    job = a_job().in_phase(state, 3) if state else a_job().with_status(attempt=3)
    assert decided(job).create[-1]["metadata"]["name"] == "python-coder-3"


@pytest.mark.parametrize("ended", [False, True])
def test_a_child_that_the_status_does_not_know_is_written_down_with_what_became_of_it(ended: bool) -> None:
    job = a_job().running().with_status(phase=None, attempt=None, history=None, start_time=None)
    decision = decided(job.ended("Finished") if ended else job)
    assert phase(decision) == ("Succeeded" if ended else "Running")
    assert reasons(decision) == ["Succeeded" if ended else "Running"]
    assert decision.status is not None
    assert decision.status.start_time is not None
    assert decision.create == ()


def test_a_pod_that_its_node_cannot_end_is_looked_at_after_a_minute() -> None:
    job = a_job().running().with_pods(delete_by=NOW, delete_asked=NOW)
    assert decided(job).again_after == pytest.approx(61)


def test_kueue_holds_a_job() -> None:
    assert phase(decided(a_job().starting().queued())) == "Queued"


def test_a_preemption_by_kueue_keeps_the_attempt() -> None:
    decision = decided(a_job().running().queued())
    assert phase(decision) == "Queued"
    assert decision.status is not None
    assert decision.status.history is not None
    assert (decision.status.attempt, decision.status.history[-1].reason) == (1, "Preempted")
    assert decision.status.active_seconds == 60


@pytest.mark.parametrize("started", [None, NOW - timedelta(seconds=60)], ids=["taken away", "left"])
def test_what_a_preempted_run_said_is_taken_over_while_its_job_is_held(started: datetime | None) -> None:
    """Older Kubernetes leaves it in a held Job's status when that began."""
    job = a_job().running(since=60)
    preempted = decided(job.queued()).status
    said = job.ended("Interrupted", 14, run=1, checkpoint={"latest": {"step": 120}})
    pods = said.with_pods(created=NOW - timedelta(seconds=55)).build().pods
    held = job.queued().build().child
    assert held is not None
    status = decided(job.with_(status=preempted, pods=pods, child=replace(held, started=started))).status
    assert status is not None
    assert status.history is not None
    assert [(line.run, line.to_step) for line in status.history] == [(1, 120)]


def test_the_pods_of_a_run_before_a_preemption_do_not_speak_for_the_one_after() -> None:
    created = NOW - timedelta(hours=2)
    before = a_pod(uid="before", created=created, delete_asked=NOW - timedelta(hours=1), exit_code=14, gone=True)
    after = a_pod(uid="after", created=NOW - timedelta(minutes=5))
    assert newest((before, after)) == newest((after, before)) == (after,)
    job = a_job().running().with_(pods=newest((before, after)))
    crashed = decided(job.ended("InternalError")).status
    assert crashed is not None
    assert crashed.restarts == Restarts(total=1, failures=1)


def test_a_pod_that_still_runs_is_never_hidden_by_another_of_its_index() -> None:
    running, ended = a_pod(uid="runs", phase="Running", created=NOW), a_pod(uid="ended", exit_code=14, created=NOW)
    assert newest((running, ended)) == newest((ended, running)) == (running,)


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


def test_pods_that_are_gone_do_not_make_a_gang_complete() -> None:
    pods = (a_pod(phase="Running", started=NOW), a_pod(uid="other", index=1, phase="Running", started=NOW, gone=True))
    job = a_job().with_spec(compute={"nodes": 2, "gpusPerNode": 0}).starting().with_(pods=pods)
    assert phase(decided(job)) == "Starting"


def test_pods_that_a_queue_told_to_end_are_no_start_of_the_next_run() -> None:
    """A queue may let a Job go on while the pods of its run before still save."""
    job = a_job().running()
    preempted = decided(job.queued()).status
    assert preempted is not None
    created = NOW - timedelta(hours=1)
    pod = replace(job.build().pods[0], created=created, delete_by=NOW + timedelta(minutes=5), delete_asked=NOW)
    again = decided(a_job().starting().with_(status=preempted, pods=(pod,)))
    assert phase(again) == "Starting"
    said = a_job().starting().ended("Interrupted", 14, run=1, step=120).with_pods(created=created).build().pods
    last = decided(a_job().starting().with_(status=again.status, pods=said)).status
    assert last is not None
    assert last.history is not None
    assert [(line.run, line.reason) for line in last.history] == [(1, "Preempted")]
    after = a_pod(uid="after", created=NOW, phase="Running", started=NOW)
    running = decided(a_job().starting().with_(status=again.status, pods=(after,), replaced=said)).status
    assert running is not None
    assert running.history is not None
    assert [(line.run, line.reason) for line in running.history] == [(1, "Preempted"), (None, None)]


@pytest.mark.parametrize("how", [JobSeen.suspended, JobSeen.cancelled, JobSeen.without_job])
def test_a_preempted_job_that_is_taken_out_of_its_queue_has_run_once(how: Callable[[JobSeen], JobSeen]) -> None:
    job = a_job().running(since=100)
    preempted = decided(job.queued()).status
    assert preempted is not None
    said = job.ended("Interrupted", 14, run=1, step=120, checkpoint={"latest": {"step": 120}})
    pods = said.with_pods(created=NOW - timedelta(seconds=110), gone=True).build().pods
    status = decided(how(a_job().starting().with_(status=preempted, pods=pods)).without_job()).status
    assert status is not None
    assert status.history is not None
    assert [line.run for line in status.history] == [1, None]
    assert status.history[0].reason == "Preempted"
    assert status.active_seconds == 100
    assert recording.checkpoint_step(status) == 120


def test_a_preemption_that_nobody_saw_is_written_down() -> None:
    """The Job was stopped and let go on while no operator ran."""
    job = a_job().running(since=3600)
    child = job.build().child
    assert child is not None
    decision = decided(job.with_(child=replace(child, started=NOW - timedelta(seconds=30)), pods=()))
    assert phase(decision) == "Starting"
    assert decision.status is not None
    assert decision.status.history is not None
    assert [line.reason for line in decision.status.history] == ["Preempted"]
    assert decision.status.restarts is not None
    assert (decision.status.restarts.disruptions, decision.status.restarts.failures) == (1, 0)
    assert [note.reason for note in decision.notes] == ["Preempted"]


def test_time_between_runs_that_nobody_saw_is_no_active_time() -> None:
    """The second run, too, ended while no operator ran."""
    job = a_job().running(since=3600).reporting(updated_at=times.text(NOW - timedelta(minutes=50)), step=10)
    heard = decided(job).status
    child = job.build().child
    assert child is not None
    again = job.with_(status=heard, report=None, child=replace(child, started=NOW - timedelta(seconds=30)))
    ended = again.with_pods(started=NOW - timedelta(seconds=20), created=NOW - timedelta(seconds=25))
    status = decided(ended.ended("Finished", run=2)).status
    assert status is not None
    assert status.history is not None
    assert [(line.run, line.reason) for line in status.history] == [(None, "Preempted"), (2, "Finished")]
    assert status.active_seconds == 10 * 60 + 20


def test_a_job_that_was_stopped_again_since_a_preemption_that_nobody_saw_is_charged_once() -> None:
    """The Job controller leaves status.startTime as it is when a Job is suspended."""
    job = a_job().with_spec(activeDeadlineSeconds=1800).running(since=3600)
    child = job.build().child
    assert child is not None
    for suspended, then in ((True, "Queued"), (False, "Starting")):
        again = replace(child, started=NOW - timedelta(seconds=30), suspended=suspended)
        status = decided(job.with_(child=again, pods=())).status
        assert status is not None
        assert status.phase == then
        assert status.failure is None, "the time without pods is no active time"
        assert [line.reason for line in status.history or ()] == ["Preempted"]
        assert status.restarts is not None
        assert status.restarts.disruptions == 1


def test_a_node_whose_clock_is_behind_has_preempted_nothing() -> None:
    job = a_job().starting()
    child = job.build().child
    assert child is not None
    late = a_pod(phase="Running", started=NOW - timedelta(hours=1))
    seen = job.with_(child=replace(child, started=NOW), pods=(late,))
    running = decided(seen)
    assert phase(running) == "Running"
    assert decided(seen.with_(status=running.status)).status is None


def test_what_kueue_says_is_shown_and_looked_at_less_and_less_often() -> None:
    said = Obstacle("Pending", "couldn't assign flavors: insufficient unused quota for nvidia.com/gpu")
    held = a_job().starting().queued()
    first = decided(held)
    assert first.again_after == 5
    told = held.with_(status=first.status, complaint=said)
    decision = decided(told, later=40)
    assert decision.status is not None
    running = find(decision.status.conditions, "Running")
    assert running is not None
    assert running.message == f"its queue holds the Job (Pending): {said.message}"
    assert decision.again_after is not None
    assert decision.again_after >= 40
    assert decided(held.with_(status=decision.status)).status is None, "an answer that fails to come takes nothing back"
    child = told.build().child
    assert child is not None
    anew = told.with_(child=replace(child, created=NOW + timedelta(seconds=39)))
    assert decided(anew, later=40).again_after == 5, "a Job that was only just made has not waited long"


def test_time_in_the_queue_is_no_time_to_start() -> None:
    waited = a_job().with_spec(retryPolicy={"startDeadlineSeconds": 30}).starting(since=7200)
    child = waited.build().child
    assert child is not None
    admitted = waited.in_phase("Queued").with_(child=replace(child, started=None), pods=())
    assert phase(decided(admitted)) == "Starting"
    assert [note.reason for note in decided(admitted).notes] == ["Admitted"]


@pytest.mark.parametrize(("young", "said"), [(1, "Starting"), (30, "ImagePullBackOff")])
def test_what_keeps_a_pod_from_starting_is_said(young: float, said: str) -> None:
    decision = decided(a_job().starting(since=young).stuck("ImagePullBackOff: no such image"))
    assert reason_of(decision, "Running") == said


def test_the_start_deadline_is_written_down_before_the_job_goes() -> None:
    job = a_job().with_spec(retryPolicy={"startDeadlineSeconds": 30})
    late = job.starting(since=31).stuck("Unschedulable: no room")
    first = decided(late)
    assert first.delete == ()
    assert first.status is not None
    assert first.status.failure is not None
    assert "no room" in (first.status.failure.message or "")
    second = late.with_(status=first.status)
    assert [child.name for child in decided(second).delete] == ["python-coder-1"]
    third = decided(second.without_child())
    assert third.status is not None
    assert third.status.restarts == Restarts(total=1, failures=1)


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


def test_progress_is_taken_over() -> None:
    decision = decided(a_job().running().reporting(step=120, total_steps=400, remaining_seconds=3100, loss=1.25))
    assert decision.from_report
    assert decision.status is not None
    progress = decision.status.progress
    assert progress is not None
    assert (progress.summary, progress.eta, progress.loss) == ("30% (120/400)", "51m", 1.25)


@pytest.mark.parametrize("said", [{"loss": 0.25, "epoch": 3.0}, {"metrics": {"last_loss": 0.25}}])
def test_the_figures_of_a_finished_job_are_those_of_its_last_step(said: dict[str, Any]) -> None:
    polled = decided(a_job().running().reporting(step=390, total_steps=400, loss=1.25, learning_rate=1e-4)).status
    assert polled is not None
    last = {"step": 400, "totalSteps": 400, "learningRate": 1e-7, **said}
    status = decided(a_job().running().with_(status=polled).ended("Finished", **last)).status
    assert status is not None
    assert status.progress is not None
    assert (status.progress.step, status.progress.loss, status.progress.learning_rate) == (400, 0.25, 1e-7)


def test_a_report_of_an_earlier_attempt_is_ignored() -> None:
    job = a_job().running().reporting(step=1, attempt=7)
    assert not decided(job).from_report


def test_a_killed_run_is_completed_by_the_report_of_the_next() -> None:
    job = a_job().with_status(history=[past("Crash")]).running(attempt=2)
    previous = {"uid": "u", "attempt": 1, "run": 1, "kind": "InternalError", "fromStep": 0}
    decision = decided(job.reporting(previous={**previous, "checkpoint": {"latest": {"step": 100}}}))
    assert decision.status is not None
    assert decision.status.history is not None
    first = decision.status.history[0]
    assert (first.run, first.from_step, first.to_step) == (1, 0, 100)


def test_a_long_evaluation_is_no_hang() -> None:
    job = a_job().with_spec(retryPolicy={"hangTimeoutSeconds": 30}).running(since=600)
    assert decided(job.reporting(stage="Evaluating"), later=10_000).notes == ()


def test_a_trainer_that_stands_still_is_ended() -> None:
    job = a_job().with_spec(retryPolicy={"hangTimeoutSeconds": 30}).running(since=600)
    assert decided(job.reporting(), later=59).notes == ()
    assert decided(job.reporting(), later=61).notes[0].reason == "Hang"


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


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (a_job().with_spec(tuning={"type": "DoRA"}), "NotYetSupported"),
        (a_job().with_spec(storage={}), "StorageRequired"),
        (a_job().blocked_by("ClaimNotFound"), "ClaimNotFound"),
    ],
)
def test_what_cannot_start_says_why(job: JobSeen, reason: str) -> None:
    decision = decided(job)
    assert reason_of(decision, "Accepted") == reason
    assert reason_of(decision, "Stalled") == reason
    assert (phase(decision), decision.create) == ("Pending", ())


def test_only_what_may_come_is_looked_for_again() -> None:
    assert decided(a_job().blocked_by("ClaimNotFound")).again_after == 5
    assert decided(a_job().with_spec(tuning={"type": "DoRA"})).again_after is None


def test_what_is_just_going_is_waited_for_without_a_word() -> None:
    young, older = (
        decided(a_job().with_(created=NOW - timedelta(seconds=age)).blocked_by("NameConflict", passing=True))
        for age in (2, 600)
    )
    assert reason_of(young, "Accepted") is None
    assert (young.again_after, older.again_after) == (1, 5)


def test_a_device_that_was_unavailable_is_avoided() -> None:
    ended = decided(a_job().running().ended("DeviceUnavailable", 16)).status
    assert ended is not None
    again = decided(a_job().with_(status=ended), later=3600)
    affinity = again.create[-1]["spec"]["template"]["spec"]["affinity"]
    terms = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [{"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["node-a"]}]}]


def test_an_invalid_spec_is_said_and_nothing_is_made() -> None:
    seen: Observation = a_job().with_(spec=None, invalid="spec.method: is missing").build()
    decision = decide(seen, SETTINGS, NOW)
    assert reason_of(decision, "Accepted") == "Invalid"
    assert decision.create == ()


def test_the_history_keeps_the_last_twenty_runs() -> None:
    history = [past("Crash", number + 1) for number in range(20)]
    policy = {"maxRetries": 100}
    job = a_job().with_spec(retryPolicy=policy).with_status(history=history).running(attempt=21)
    status = decided(job.ended("InternalError")).status
    assert status is not None
    assert status.history is not None
    assert [entry.attempt for entry in status.history] == list(range(2, 22))


@pytest.mark.parametrize("annotation", ["job-min-parallelism", "elastic-job"])
def test_a_job_that_its_queue_may_start_in_parts_is_refused(annotation: str) -> None:
    decision = decided(a_job().with_(annotations={f"kueue.x-k8s.io/{annotation}": "1"}))
    assert kinds(decision) == []
    assert reason_of(decision, "Accepted") == "StartsWhole"
