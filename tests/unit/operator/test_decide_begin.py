"""What is decided where no attempt runs yet: begin it, wait, or say what is in the way; everything here is a value."""

from datetime import timedelta

import pytest

from finetune_api.v1alpha1.status import Restarts
from finetune_operator.decide import decide
from finetune_operator.observation import Observation, Pod
from finetune_operator.stages.at_rest import SHORTEST_SETTLING
from tests.builders.decisions import SETTINGS, decided, kinds, phase, reason_of, reasons
from tests.builders.observations import NOW, JobSeen, a_job, a_pod, past


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


def test_pods_that_are_gone_do_not_make_a_gang_complete() -> None:
    pods = (a_pod(phase="Running", started=NOW), a_pod(uid="other", index=1, phase="Running", started=NOW, gone=True))
    job = a_job().with_spec(compute={"nodes": 2, "gpusPerNode": 0}).starting().with_(pods=pods)
    assert phase(decided(job)) == "Starting"


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


@pytest.mark.parametrize("annotation", ["job-min-parallelism", "elastic-job"])
def test_a_job_that_its_queue_may_start_in_parts_is_refused(annotation: str) -> None:
    decision = decided(a_job().with_(annotations={f"kueue.x-k8s.io/{annotation}": "1"}))
    assert kinds(decision) == []
    assert reason_of(decision, "Accepted") == "StartsWhole"


def test_a_job_that_had_to_wait_when_it_was_resumed_says_that_it_waits_for_its_backoff() -> None:
    crashed = a_job().with_status(history=[past("Crash")], restarts=Restarts(total=1, failures=1))
    decision = decided(crashed.in_phase("Pending"))
    assert (phase(decision), reason_of(decision, "Running"), kinds(decision)) == ("Retrying", "Backoff", [])
