"""What is decided about a job that a queue holds, stops, and lets go on."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from finetune_api.v1alpha1.status import Restarts
from finetune_operator import recording, times
from finetune_operator.conditions import find
from finetune_operator.observation import Obstacle, newest
from tests.builders.decisions import decided, phase
from tests.builders.observations import NOW, JobSeen, a_job, a_pod


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


def test_a_job_that_is_let_go_has_its_whole_time_to_start_whatever_its_job_says_of_the_time_before() -> None:
    job = a_job().with_spec(retryPolicy={"startDeadlineSeconds": 100})
    decision = decided(job.starting(since=7200).with_pods(phase="Pending").in_phase("Queued"))
    assert phase(decision) == "Starting"


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
