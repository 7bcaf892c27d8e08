"""The decision over its whole matrix: phase, state of the Job, ends of pods, flags of the spec, and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from finetune_api.v1alpha1.status import Failure, FineTuneJobStatus, Restarts
from finetune_operator import times
from finetune_operator.decide import TERMINAL, decide
from finetune_operator.draft import Decision
from finetune_operator.observe import _is_settled
from finetune_operator.policies.ends import CREATED
from tests.builders.decisions import SETTINGS, decided
from tests.builders.observations import NOW, JobSeen, a_job, past

RESTING = (None, "Pending", "Retrying", "Suspended")
"""Phases in which no attempt was begun, as far as the status knows."""
MAXIMUM_RETRIES = 3

FLAGS: dict[str, dict[str, bool]] = {
    "-": {},
    "suspend": {"suspend": True},
    "cancel": {"cancel": True},
    "both": {"suspend": True, "cancel": True},
}


def _gone(job: JobSeen) -> JobSeen:
    return job.starting().without_child()


def _gone_beside_pods(job: JobSeen) -> JobSeen:
    return job.running().with_(child=None)


def _without_pods(job: JobSeen) -> JobSeen:
    return job.starting().with_(pods=())


def _on_their_way_out(job: JobSeen) -> JobSeen:
    seen = job.running()
    child = seen.build().child
    assert child is not None
    return seen.with_(child=replace(child, failed="BackoffLimitExceeded: ", terminating=1))


SITUATIONS: dict[str, Callable[[JobSeen], JobSeen]] = {
    "no attempt": lambda job: job,
    "Job gone": _gone,
    "Job gone, pods alive": _gone_beside_pods,
    "held by a queue": lambda job: job.starting().queued(),
    "no pod yet": _without_pods,
    "pods start": lambda job: job.starting(),
    "pods run": lambda job: job.running(),
    "Job under deletion": lambda job: job.running().child_deleting(),
    "pods on their way out": _on_their_way_out,
    "complete": lambda job: job.running().ended("Finished"),
    "crashed": lambda job: job.running().ended("InternalError"),
    "interrupted": lambda job: job.running().ended("Interrupted", 14),
    "user error": lambda job: job.running().ended("UserError", 10),
}

KEEP = "as before"
FLOW: dict[str, dict[str, tuple[str, str]]] = {
    #                         flag: (phase afterwards, what is made or deleted)
    "no attempt": {
        "-": ("begun", "create"),
        "suspend": ("Suspended", ""),
        "cancel": ("Cancelled", ""),
        "both": ("Cancelled", ""),
    },
    "Job gone": {
        "-": ("Retrying", ""),
        "suspend": ("Suspended", ""),
        "cancel": ("Cancelled", ""),
        "both": ("Cancelled", ""),
    },
    "Job gone, pods alive": {"-": (KEEP, ""), "suspend": (KEEP, ""), "cancel": (KEEP, ""), "both": (KEEP, "")},
    "held by a queue": {
        "-": ("Queued", ""),
        "suspend": ("Suspending", "delete"),
        "cancel": (KEEP, "delete"),
        "both": (KEEP, "delete"),
    },
    "no pod yet": {
        "-": ("Starting", ""),
        "suspend": ("Suspending", "delete"),
        "cancel": (KEEP, "delete"),
        "both": (KEEP, "delete"),
    },
    "pods start": {
        "-": ("Starting", ""),
        "suspend": ("Suspending", "delete"),
        "cancel": (KEEP, "delete"),
        "both": (KEEP, "delete"),
    },
    "pods run": {
        "-": ("Running", ""),
        "suspend": ("Suspending", "delete"),
        "cancel": (KEEP, "delete"),
        "both": (KEEP, "delete"),
    },
    "Job under deletion": {"-": (KEEP, ""), "suspend": ("Suspending", ""), "cancel": (KEEP, ""), "both": (KEEP, "")},
    "pods on their way out": {"-": (KEEP, ""), "suspend": (KEEP, ""), "cancel": (KEEP, ""), "both": (KEEP, "")},
    "complete": dict.fromkeys(FLAGS, ("Succeeded", "")),
    "crashed": {
        "-": ("Retrying", ""),
        "suspend": ("Suspended", ""),
        "cancel": ("Cancelled", ""),
        "both": ("Cancelled", ""),
    },
    "interrupted": {
        "-": ("Retrying", ""),
        "suspend": ("Suspended", ""),
        "cancel": ("Cancelled", ""),
        "both": ("Cancelled", ""),
    },
    "user error": dict.fromkeys(FLAGS, ("Failed", "")),
}


def seen_in(situation: str, phase: str | None, flags: str) -> JobSeen:
    """The situation, with a status that says this phase of its first attempt."""
    job = SITUATIONS[situation](a_job().with_spec(**FLAGS[flags])) if FLAGS[flags] else SITUATIONS[situation](a_job())
    if phase in CREATED:
        started = times.text(NOW - timedelta(minutes=1))
        return job.with_status(phase=phase, attempt=1, start_time=started, observed_generation=1)
    return job.with_status(phase=phase)


def done(decision: Decision) -> str:
    return "create" if decision.create else "delete" if decision.delete else ""


def phases_of(situation: str) -> tuple[str | None, ...]:
    """The phases in which the situation can be met."""
    if situation == "no attempt":
        return RESTING
    return tuple(CREATED) if situation == "Job gone" else (*RESTING, *sorted(CREATED))


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_each_situation_leads_where_the_table_says(situation: str, flags: str) -> None:
    wanted, act = FLOW[situation][flags]
    for phase in phases_of(situation):
        job = seen_in(situation, phase, flags)
        decision = decided(job)
        found = decision.status.phase if decision.status else job.build().status.phase
        if wanted == "begun":
            assert found in (phase, "Starting")  # its first words may wait until its pods run
        elif wanted != KEEP:
            assert found == wanted, phase
        elif phase in CREATED:
            assert found == phase
        assert done(decision) == act, phase


def ends(kind: str | None = None, code: int = 1, **pod: object) -> Callable[[JobSeen], JobSeen]:
    """A running attempt that ends with this record and exit code, in a pod that looks like this."""

    def end(job: JobSeen) -> JobSeen:
        ended = job.running().ended(kind, code)
        return ended.with_pods(**pod) if pod else ended

    return end


ENDS: dict[str, tuple[Callable[[JobSeen], JobSeen], str, str, str | None]] = {
    # how it ended: (how that looks, what follows, its line in history, what it is counted under)
    "finished": (ends("Finished"), "Succeeded", "Finished", None),
    "user error": (ends("UserError", 10), "Failed", "UserError", None),
    "user error, by its code": (ends(None, 10), "Failed", "UserError", None),
    "device out of memory": (ends("DeviceOutOfMemory", 11), "Retrying", "DeviceOutOfMemory", "out_of_memory"),
    "device out of memory, by its code": (ends(None, 11), "Retrying", "DeviceOutOfMemory", "out_of_memory"),
    "host out of memory": (ends("HostOutOfMemory", 12), "Retrying", "HostOutOfMemory", "out_of_memory"),
    "OOMKilled": (ends(None, 137, end_reason="OOMKilled"), "Retrying", "HostOutOfMemory", "out_of_memory"),
    "interrupted with a checkpoint": (ends("Interrupted", 14), "Retrying", "Interrupted", "disruptions"),
    "evicted": (ends(None, 137, disruption="EvictionByEvictionAPI"), "Retrying", "Evicted", "disruptions"),
    "evicted by its kubelet": (
        ends(None, 137, disruption="TerminationByKubelet"),
        "Retrying",
        "Evicted",
        "disruptions",
    ),
    "evicted, after it saved": (
        ends("Interrupted", 14, disruption="EvictionByEvictionAPI"),
        "Retrying",
        "Evicted",
        "disruptions",
    ),
    "preempted": (ends(None, 137, disruption="PreemptionByScheduler"), "Retrying", "Preempted", "disruptions"),
    "node lost": (ends(None, 137, disruption="DeletionByTaintManager"), "Retrying", "NodeLost", "disruptions"),
    "node collected": (ends(None, 137, disruption="DeletionByPodGC"), "Retrying", "NodeLost", "disruptions"),
    "given up with its node": (
        ends(None, 1, exit_code=None, end_reason="NodeLost"),
        "Retrying",
        "NodeLost",
        "disruptions",
    ),
    "pod deleted": (ends(None, 137, delete_asked=NOW), "Retrying", "PodDeleted", "disruptions"),
    "pod deleted at once": (ends(None, 1, exit_code=None, gone=True), "Retrying", "PodDeleted", "disruptions"),
    "diverged": (ends("Diverged", 13), "Failed", "Diverged", None),
    "hang": (ends("Hang", 15), "Retrying", "Hang", "hangs"),
    "volume full": (
        lambda job: job.running().ended("InternalError", cause="VolumeFull"),
        "Retrying",
        "VolumeFull",
        "failures",
    ),
    "device unavailable": (ends("DeviceUnavailable", 16), "Retrying", "DeviceUnavailable", "failures"),
    "crash": (ends("InternalError", 1), "Retrying", "Crash", "failures"),
    "unknown exit": (ends(None, 77), "Retrying", "Crash", "failures"),
    "signal": (ends(None, 139), "Retrying", "Crash", "failures"),
}
CHARGED = ("failures", "hangs")


@pytest.mark.parametrize("end", ENDS)
def test_each_end_means_what_the_table_says(end: str) -> None:
    job, outcome, reason, counted = ENDS[end]
    status = decided(job(a_job())).status
    assert status is not None
    assert status.history is not None
    assert (status.phase, status.history[-1].reason) == (outcome, reason)
    assert status.attempt == (2 if outcome == "Retrying" else 1)
    if counted is not None:
        assert status.restarts is not None
        assert status.restarts.model_dump(exclude_defaults=True) == {"total": 1, counted: 1}
    if outcome != "Succeeded":
        assert status.failure is not None


@pytest.mark.parametrize("end", ENDS)
def test_only_failures_and_hangs_need_retries(end: str) -> None:
    job, outcome, _, counted = ENDS[end]
    spent = Restarts(total=MAXIMUM_RETRIES, failures=MAXIMUM_RETRIES)
    status = decided(job(a_job().with_status(restarts=spent))).status
    assert status is not None
    assert status.phase == ("Failed" if counted in CHARGED else outcome)


@pytest.mark.parametrize("end", ENDS)
def test_a_pause_or_a_cancellation_that_was_asked_for_decides_what_follows(end: str) -> None:
    job, outcome, _, counted = ENDS[end]
    for flags, instead in (("suspend", "Suspended"), ("cancel", "Cancelled"), ("both", "Cancelled")):
        status = decided(job(a_job().with_spec(**FLAGS[flags]))).status
        assert status is not None
        assert status.phase == (instead if outcome == "Retrying" else outcome)
        charged = (status.restarts or Restarts()).failures + ((status.restarts or Restarts()).hangs)
        assert charged == (1 if counted in CHARGED else 0)


def test_a_pause_is_no_disruption_however_often_there_were_some() -> None:
    evicted = [past("Evicted", number + 1, to_step=5) for number in range(4)]
    spent = Restarts(total=7, failures=MAXIMUM_RETRIES, disruptions=4)
    job = a_job().with_status(history=evicted, restarts=spent).running(attempt=5).suspended()
    status = decided(job.ended("Interrupted", 14, checkpoint={"latest": {"step": 5}})).status
    assert status is not None
    assert (status.phase, status.restarts) == ("Suspended", spent)


@pytest.mark.parametrize("code", [1, 143])
def test_pods_torn_down_after_the_start_deadline_do_not_hide_it(code: int) -> None:
    meant = Failure(reason="StartDeadlineExceeded", attempt=1, message="not all pods ran")
    job = a_job().running().ended("InternalError" if code == 1 else None, code).with_pods(delete_asked=NOW)
    status = decided(job.without_job().with_status(failure=meant)).status
    assert status is not None
    assert status.history is not None
    assert status.history[-1].reason == "StartDeadlineExceeded"


# The clock


@pytest.mark.parametrize(
    ("job", "before", "after", "seconds"),
    [
        (
            a_job().with_spec(retryPolicy={"startDeadlineSeconds": 100}).starting(since=0),
            "",
            "StartDeadlineExceeded",
            100,
        ),
        (a_job().with_spec(activeDeadlineSeconds=100).running(since=0), "", "DeadlineExceeded", 100),
        (a_job().with_status(history=[past("Crash")], restarts=Restarts(total=1, failures=1)), "", "create", 10),
        (
            a_job()
            .with_spec(ttlSecondsAfterFinished=100)
            .in_phase("Failed")
            .with_status(completion_time=times.text(NOW)),
            "",
            "gone",
            100,
        ),
    ],
    ids=["start deadline", "active time", "backoff", "time to live"],
)
def test_what_is_due_is_done_at_its_moment_and_not_before(
    job: JobSeen, before: str, after: str, seconds: float
) -> None:
    def due(later: float) -> str:
        decision = decided(job, later)
        meant = decision.status.failure if decision.status else None
        return "gone" if decision.delete_job else meant.reason if meant else done(decision)

    assert due(seconds - 1) == before
    assert due(seconds + 1) == after
    again = decided(job, seconds - 1).again_after
    assert again is not None
    assert again <= 1


# Everything with everything


def everything() -> list[tuple[str, JobSeen]]:
    """Each situation and end, in each phase, with each set of flags."""
    situations = {**SITUATIONS, **{f"ended: {name}": row[0] for name, row in ENDS.items()}}
    SITUATIONS.update(situations)
    phases = (*RESTING, *sorted(CREATED), *sorted(TERMINAL))
    return [
        (f"{situation}, {phase}, {flags}", seen_in(situation, phase, flags))
        for situation, phase, flags in product(situations, phases, FLAGS)
    ]


def test_every_combination_keeps_the_rules() -> None:
    for what, job in everything():
        seen = job.with_spec(activeDeadlineSeconds=50, retryPolicy={"startDeadlineSeconds": 30}).build()
        for later in (0, 45, 100_000):
            decision = decide(seen, SETTINGS, NOW + timedelta(seconds=later))
            broken = _broken_rules(seen.status, decision, alive=not all(pod.ended for pod in seen.pods))
            assert not broken, f"{what}, {later} s later: {broken}"


def test_a_job_that_is_not_even_parsed_any_more_is_one_with_which_nothing_is_left_to_be_done() -> None:
    """Most jobs are like that at a restart; whether they are is told from a few fields of the document."""
    told = set()
    for phase, deleting, ttl, observed in product(sorted(TERMINAL), (False, True), (None, 0, 100), (None, 1, 2)):
        status = {"phase": phase, "completionTime": times.text(NOW), "observedGeneration": observed}
        job = a_job().with_(status=FineTuneJobStatus.model_validate(status), deleting=deleting, generation=2)
        if ttl is not None:
            job = job.with_spec(ttlSecondsAfterFinished=ttl)
        seen = job.build()
        assert seen.spec is not None
        metadata = {"generation": 2, **({"deletionTimestamp": times.text(NOW)} if deleting else {})}
        settled = _is_settled({"metadata": metadata, "spec": seen.spec.dump(), "status": status})
        nothing = decided(job) == Decision()
        assert settled == (nothing and (observed == 2 or not deleting)), (phase, deleting, ttl, observed)
        told.add(settled)
    assert told == {True, False}


def _broken_rules(before: FineTuneJobStatus, decision: Decision, alive: bool) -> list[str]:
    after = decision.status or before
    used = after.restarts.failures + after.restarts.hangs if after.restarts else 0
    rules = {
        "an end is an end": before.phase not in TERMINAL or (after.phase == before.phase and not done(decision)),
        "nothing is made beside what lives": not (alive and decision.create),
        "a change of phase is said": after.phase == before.phase or bool(decision.notes),
        "nothing is made and deleted at once": not (decision.create and decision.delete),
        "attempts are counted one by one": (after.attempt or 1) - (before.attempt or 1) in (0, 1),
        "retries have a limit": used <= MAXIMUM_RETRIES,
        "a job at its end says when": after.phase not in TERMINAL - {before.phase} or after.completion_time is not None,
        "whoever waits looks again": after.phase in {*TERMINAL, "Suspended"} or decision.again_after is not None,
        "Ready is for a success alone": all(
            (condition.status == "True") == (after.phase == "Succeeded")
            for condition in (decision.status.conditions if decision.status else None) or ()
            if condition.type == "Ready"
        ),
        "a paused job says so": after.phase != "Suspended" or after.phase == before.phase or _is_said(after),
    }  # fmt: skip
    return [rule for rule, holds in rules.items() if not holds]


def _is_said(status: FineTuneJobStatus) -> bool:
    return any(condition.type == "Suspended" and condition.status == "True" for condition in status.conditions or ())


def test_a_decision_that_was_carried_out_is_not_made_again() -> None:
    """At the same moment: the status that was written needs no second write, whatever it was about."""
    for what, job in everything():
        first = decided(job)
        if first.status is None or first.create or first.delete:
            continue
        settled = job.with_(status=first.status)
        if (first.status.attempt or 1) != (job.build().status.attempt or 1):
            settled = settled.without_child()  # that of the next attempt is not made yet
        again = decided(settled).status
        if first.status.phase in {*TERMINAL, "Suspended", "Queued", "Starting", "Running"}:
            assert again is None or again.phase == first.status.phase, what
            assert again is None or again.history == first.status.history, what
