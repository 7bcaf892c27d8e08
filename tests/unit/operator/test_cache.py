"""The cache under late, repeated and lost events."""

from typing import Any

import pytest

from finetune_operator.cache import Cache, Concern
from finetune_operator.kube.protocol import FINE_TUNE_JOB, JOB, POD
from finetune_operator.names import CHILD_LABEL, JOB_LABEL

KEY = ("team", "coder")


def a_document(name: str, version: int, uid: str = "u", **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "team", "uid": uid, "resourceVersion": str(version)}
    labels = {JOB_LABEL: "coder", CHILD_LABEL: "coder-1"}
    return {"metadata": {**metadata, "labels": labels}, **parts}


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_an_older_object_never_replaces_a_newer(cache: Cache) -> None:
    assert cache.take(FINE_TUNE_JOB, "ADDED", a_document("coder", 10)) == Concern(KEY)
    assert cache.take(FINE_TUNE_JOB, "MODIFIED", a_document("coder", 9)) is None
    assert cache.take(FINE_TUNE_JOB, "MODIFIED", a_document("coder", 10)) is None
    assert cache.jobs[KEY]["metadata"]["resourceVersion"] == "10"


def test_a_deleted_object_does_not_come_back_by_a_late_event(cache: Cache) -> None:
    cache.take(JOB, "ADDED", a_document("coder-1", 10))
    assert cache.take(JOB, "DELETED", a_document("coder-1", 11)) == Concern(KEY)
    assert cache.take(JOB, "MODIFIED", a_document("coder-1", 12)) is None
    assert cache.child("team", "coder-1") is None


def test_the_deletion_of_an_earlier_object_of_the_name_leaves_the_new_one(cache: Cache) -> None:
    cache.take(JOB, "ADDED", a_document("coder-1", 20, uid="new"))
    cache.take(JOB, "DELETED", a_document("coder-1", 19, uid="old"))
    child = cache.child("team", "coder-1")
    assert child is not None
    assert child.uid == "new"


def test_a_pod_that_is_gone_keeps_its_record_until_the_attempt_is_over(cache: Cache) -> None:
    ended = {"name": "trainer", "state": {"terminated": {"exitCode": 14, "message": "{}"}}}
    cache.take(FINE_TUNE_JOB, "ADDED", a_document("coder", 1, uid="job", status={"attempt": 1}))
    cache.take(POD, "ADDED", a_document("p", 1))
    cache.take(POD, "DELETED", a_document("p", 2, status={"phase": "Failed", "containerStatuses": [ended]}))
    (pod,) = cache.pods("team", None, "coder-1")
    assert (pod.gone, pod.exit_code, pod.message) == (True, 14, "{}")
    cache.forget_ends(KEY)
    assert cache.pods("team", None, "coder-1") == ()


@pytest.mark.parametrize("status", [None, {"attempt": 1, "completionTime": "2026-01-02T03:04:05Z"}])
def test_a_pod_that_goes_after_its_job_is_not_kept(cache: Cache, status: dict[str, Any] | None) -> None:
    if status is not None:
        cache.take(FINE_TUNE_JOB, "ADDED", a_document("coder", 1, uid="job", status=status))
    cache.take(POD, "ADDED", a_document("p", 2))
    cache.take(POD, "DELETED", a_document("p", 3))
    assert cache.pods("team", None, "coder-1") == ()


def test_a_pod_that_goes_long_after_its_attempt_is_not_kept(cache: Cache) -> None:
    cache.take(FINE_TUNE_JOB, "ADDED", a_document("coder", 1, uid="job", status={"attempt": 3}))
    cache.take(POD, "ADDED", a_document("p", 2))
    cache.take(POD, "DELETED", a_document("p", 3))
    assert cache.pods("team", None, "coder-1") == ()


def test_pods_of_other_attempts_are_known_while_they_run(cache: Cache) -> None:
    cache.take(POD, "ADDED", a_document("p", 2))
    assert [pod.name for pod in cache.pods_beside(KEY, "coder-2")] == ["p"]
    assert cache.pods_beside(KEY, "coder-1") == ()
    assert cache.only_pods(KEY, frozenset())
    assert cache.pods_beside(KEY, "coder-2") == ()


def test_a_deleted_job_leaves_no_ends_to_a_later_one_of_its_name(cache: Cache) -> None:
    cache.take(FINE_TUNE_JOB, "ADDED", a_document("coder", 1, uid="job", status={"attempt": 1}))
    cache.take(POD, "ADDED", a_document("p", 2))
    cache.take(POD, "DELETED", a_document("p", 3))
    cache.take(FINE_TUNE_JOB, "DELETED", a_document("coder", 4, uid="job"))
    assert cache.pods("team", None, "coder-1") == ()


def test_pods_that_a_listing_lacks_are_gone(cache: Cache) -> None:
    cache.take(FINE_TUNE_JOB, "ADDED", a_document("coder", 1, uid="job"))
    for uid in ("there", "missing", "lost"):
        cache.take(POD, "ADDED", a_document(uid, 1, uid=uid))
    assert cache.only_pods(KEY, frozenset({"there", "lost"}), of="coder-1")
    (lost,) = (pod for pod in cache.pods("team", None, "coder-1") if pod.uid == "lost")
    cache.pod_gone("team", lost)
    gone = {pod.uid: pod.gone for pod in cache.pods("team", None, "coder-1")}
    assert gone == {"there": False, "missing": True, "lost": True}


def test_a_change_of_what_nobody_reads_is_no_change(cache: Cache) -> None:
    cache.take(JOB, "ADDED", a_document("coder-1", 10, status={"active": 1}))
    assert cache.take(JOB, "MODIFIED", a_document("coder-1", 11, status={"active": 1, "ready": 1})) is None
    assert cache.take(JOB, "MODIFIED", a_document("coder-1", 12, status={"terminating": 1})) == Concern(
        KEY, passing=True
    )
    child = cache.child("team", "coder-1")
    assert child is not None
    assert child.version == "12"


def test_what_nobody_reads_is_not_kept(cache: Cache) -> None:
    document = a_document("coder", 1, spec={"suspend": True})
    document["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    document["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kept": "yes"}
    cache.take(FINE_TUNE_JOB, "ADDED", document)
    kept = cache.jobs[KEY]["metadata"]
    assert "managedFields" not in kept
    assert kept["annotations"] == {"kept": "yes"}


def test_what_a_listing_does_not_have_is_gone(cache: Cache) -> None:
    cache.take(FINE_TUNE_JOB, "ADDED", a_document("coder", 1, uid="job", status={"attempt": 1}))
    cache.take(JOB, "ADDED", a_document("coder-1", 10, uid="child"))
    cache.take(POD, "ADDED", a_document("p", 11, uid="pod"))
    assert cache.listed(JOB, "team", frozenset({"child"}), "20") == []
    assert cache.listed(JOB, None, frozenset(), "20") == [KEY]
    assert cache.child("team", "coder-1") is None
    assert cache.listed(POD, "team", frozenset(), "20") == [KEY]
    assert [pod.gone for pod in cache.pods("team", None, "coder-1")] == [True]
    assert cache.listed(POD, "team", frozenset(), "21") == [], "it is known already"
    assert cache.listed(FINE_TUNE_JOB, "team", frozenset(), "21") == [KEY]
    assert KEY not in cache.jobs


def test_a_listing_says_nothing_of_what_is_newer_or_elsewhere(cache: Cache) -> None:
    cache.take(JOB, "ADDED", a_document("coder-1", 30))
    cache.take(POD, "ADDED", a_document("p", 30))
    for kind in (JOB, POD):
        assert cache.listed(kind, "team", frozenset(), "20") == []
        assert cache.listed(kind, "another", frozenset(), "40") == []
    assert cache.child("team", "coder-1") is not None
    assert [pod.gone for pod in cache.pods("team", None, "coder-1")] == [False]


UNSCHEDULABLE = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]
DELETING = {"deletionTimestamp": "2026-01-02T03:04:05Z"}


@pytest.mark.parametrize(
    ("statuses", "passing"),
    [
        ([{"phase": "Pending"}], True),
        ([{"phase": "Pending"}, {"phase": "Pending", "podIP": "10.0.0.1"}], True),
        ([{"phase": "Running"}], False),
        ([{"phase": "Running"}, {"phase": "Succeeded"}], True),
        ([{"phase": "Running"}, {"phase": "Failed"}], False),
        ([{"phase": "Pending", "conditions": UNSCHEDULABLE}], False),
        ([{"phase": "Pending", "conditions": UNSCHEDULABLE}, {"phase": "Pending"}], False),
    ],
)
def test_a_pod_on_its_way_can_wait_and_trouble_cannot(
    cache: Cache, statuses: list[dict[str, Any]], passing: bool
) -> None:
    told = [cache.take(POD, "MODIFIED", a_document("p", 1 + n, status=one)) for n, one in enumerate(statuses)]
    assert told[-1] == Concern(KEY, passing)


def test_a_pod_that_goes_cannot_wait(cache: Cache) -> None:
    document = a_document("p", 1, status={"phase": "Succeeded"})
    document["metadata"] |= DELETING
    assert cache.take(POD, "ADDED", document) == Concern(KEY)
    assert cache.take(POD, "DELETED", a_document("p", 2, status={"phase": "Succeeded"})) == Concern(KEY)


@pytest.mark.parametrize(
    ("states", "passing"),
    [
        ([{}], True),
        ([{}, {"status": {"startTime": "2026-01-02T03:04:05Z"}}], True),
        ([{"spec": {"suspend": True}}], False),
        ([{"spec": {"suspend": True}}, {}], False),
        ([{"status": {"conditions": [{"type": "Complete", "status": "True"}]}}], False),
        ([{"status": {"conditions": [{"type": "Failed", "status": "True"}]}}], False),
    ],
)
def test_a_job_that_begins_can_wait_and_one_that_is_held_or_ends_cannot(
    cache: Cache, states: list[dict[str, Any]], passing: bool
) -> None:
    told = [cache.take(JOB, "MODIFIED", a_document("coder-1", 1 + n, **one)) for n, one in enumerate(states)]
    assert told[-1] == Concern(KEY, passing)
