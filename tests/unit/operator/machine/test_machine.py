"""Random events against the reconciler: what must not happen does not, and at rest the job is where it should be.

FINETUNE_MACHINE_EXAMPLES, FINETUNE_MACHINE_LIVES and FINETUNE_MACHINE_STEPS make it longer; without them it is the same
on every run.
"""

import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from finetune_api.trainer_contract import EndKind
from finetune_operator.kube.protocol import FINE_TUNE_JOB, JOB, NETWORK_POLICY, POD
from finetune_operator.names import ATTEMPT_LABEL, COMPLETION_INDEX

from .api_server import NAMESPACE
from .happenings import AFTERWARDS, HAPPENINGS, play
from .life import NAME, TERMINAL, Life

EXAMPLES = int(os.environ.get("FINETUNE_MACHINE_EXAMPLES", "60"))
LIVES = int(os.environ.get("FINETUNE_MACHINE_LIVES", "120"))
STEPS = int(os.environ.get("FINETUNE_MACHINE_STEPS", "30"))


def problems_at_rest(life: Life) -> list[str]:
    """What is not as it should be, now that nothing happens any more."""
    job, live = life.job(), life.live_attempts()
    if job is None:
        left = [document["metadata"]["name"] for kind in (JOB, NETWORK_POLICY, POD) for document in life.api.all(kind)]
        return [f"left of a deleted job: {left}"] if left else []
    status, spec = life.status(), job["spec"]
    phase = status.get("phase")
    if phase in TERMINAL:
        return [f"{phase}, and {sorted(live)} live"] if live else []
    if spec.get("cancel"):
        return [f"cancelled, and {phase}"]
    if spec.get("suspend"):
        return [] if phase == "Suspended" and not live else [f"suspended, and {phase} with {sorted(live)}"]
    child = life.api.find(JOB, f"{job['metadata']['name']}-{status.get('attempt')}")
    if phase != "Running" or child is None or live != {child["metadata"]["uid"]}:
        return [f"to run, and {phase} in attempt {status.get('attempt')} with {sorted(live)}"]
    return _problems_of_the_record(life, status)


def _problems_of_the_record(life: Life, status: dict[str, Any]) -> list[str]:
    """What is said of checkpoints and starts, against the volume and the trainers."""
    latest = ((status.get("checkpoint") or {}).get("latest") or {}).get("step", 0)
    newest = life.cluster.newest(NAME)
    wrong = []
    if latest != newest and _leader_runs(life):
        wrong.append(f"the newest checkpoint is of step {newest}, and status says {latest}")
    uid = (life.job() or {}).get("metadata", {}).get("uid")
    begun = {(t.config.attempt, t.run): t.from_step for t in life.cluster.trainers.values() if t.config.job.uid == uid}
    for line in status.get("history", []):
        said = line.get("fromStep")
        if said is not None and begun.get((line["attempt"], line.get("run")), said) != said:
            wrong.append(f"history says that attempt {line['attempt']} began at {said}: {begun}")
    return wrong


def _leader_runs(life: Life) -> bool:
    """Whether somebody can be asked for progress: a pod of a gang may have ended by itself, as no real one does."""
    return any(pod["metadata"]["annotations"][COMPLETION_INDEX] == "0" for pod in life.cluster.running())


def check_rest(life: Life) -> None:
    """The invariants once events have stopped: the right end, and not one write more."""
    life.calm()
    assert life.broken == []
    assert problems_at_rest(life) == [], life.status()
    life.cluster.deaf = True
    life.flow()
    writes = life.connection.writes
    if life.job() is not None:
        life.controller.queue.add(("team", life.job()["metadata"]["name"]))  # type: ignore[index]  # it is there until something deletes it
    life.flow()
    assert life.connection.writes == writes


class Machine(RuleBasedStateMachine):
    """Plays; Hypothesis chooses what."""

    life: Life

    @initialize(nodes=st.sampled_from([1, 2]), suspended=st.booleans(), running=st.booleans())
    def begin(self, nodes: int, suspended: bool, running: bool) -> None:
        self.life = Life(nodes, suspended)
        if running:
            self.life.flow()

    @rule(
        happening=st.sampled_from(list(HAPPENINGS)),
        number=st.integers(0, 29),
        afterwards=st.sampled_from(list(AFTERWARDS)),
    )
    def happens(self, happening: str, number: int, afterwards: str) -> None:
        play(self.life, happening, number, afterwards)

    @rule()
    def all_settles(self) -> None:
        self.life.flow()

    @invariant()
    def nothing_is_broken(self) -> None:
        if hasattr(self, "life"):
            assert self.life.broken == []

    def teardown(self) -> None:
        if not hasattr(self, "life"):
            return
        try:
            check_rest(self.life)
        finally:
            self.life.close()


Machine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    derandomize="FINETUNE_MACHINE_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestRandomEvents = Machine.TestCase


def a_random_life(seed: int, steps: int = 40) -> tuple[dict[str, Any] | None, int]:
    """The job as a life of this seed leaves it, and the writes of its last operator."""
    chosen = random.Random(seed)
    life = Life(nodes=1 + seed % 2)
    try:
        for _ in range(steps):
            happening, afterwards = chosen.choice(list(HAPPENINGS)), chosen.choice(list(AFTERWARDS))
            play(life, happening, chosen.randrange(30), afterwards)
        check_rest(life)
        return life.api.find(FINE_TUNE_JOB, "python-coder"), life.connection.writes
    finally:
        life.close()


def test_the_same_seed_gives_the_same_end() -> None:
    for seed in range(4):
        assert a_random_life(seed) == a_random_life(seed)


def test_many_random_lives_end_as_they_should() -> None:
    """Hypothesis prefers short and simple lives and makes failures small; these are long and find more."""
    for seed in range(LIVES):
        a_random_life(seed)


@pytest.mark.parametrize("asked", [{"cancel": True}, {"suspend": True}])
def test_a_job_whose_creation_was_not_heard_of_does_not_outlive_the_order_to_stop(asked: dict[str, Any]) -> None:
    life = Life()
    try:
        life.connection.strike("timeout after", 2)  # after the policy, the Job
        life.work()
        assert [child["metadata"]["name"] for child in life.api.all(JOB)] == ["python-coder-1"]
        life.edit(**asked)
        life.hear((FINE_TUNE_JOB,))
        life.pass_time(5)
        check_rest(life)
        assert life.status()["phase"] == ("Cancelled" if "cancel" in asked else "Suspended")
        assert not life.live_attempts()
    finally:
        life.close()


def test_a_job_that_is_applied_again_waits_for_all_pods_of_the_one_before() -> None:
    """Those of its second attempt, whose Job somebody took away in the background: only the pods are left."""
    life = Life()
    try:
        life.flow()
        (first,) = life.cluster.running()
        life.cluster.end(first["metadata"]["name"], EndKind.DEVICE_OUT_OF_MEMORY)
        life.flow()
        life.pass_time(1)
        life.flow()
        (second,) = life.cluster.running()
        life.delete_job(foreground=False)
        life.delete_child(foreground=False)
        life.pass_time(1)
        life.apply()
        life.flow()
        life.pass_time(60)
        assert [pod["metadata"]["name"] for pod in life.cluster.running()] == [second["metadata"]["name"]]
        assert life.api.all(JOB) == []
        assert life.status()["phase"] == "Pending"
        life.edit(suspend=True)
        life.flow()
        assert life.status()["phase"] == "Suspended", "it holds nothing itself"
        life.edit(suspend=False)
        life.flow()
        assert (life.status()["phase"], life.api.all(JOB)) == ("Pending", [])
        life.cluster.stop_deleted()
        life.flow()
        (third,) = life.cluster.running()
        assert third["metadata"]["labels"][ATTEMPT_LABEL] == "1"
        check_rest(life)
    finally:
        life.close()


def test_a_finished_job_that_is_applied_again_at_once_waits_for_garbage_collection_without_a_word() -> None:
    life = Life()
    try:
        life.flow()
        life.finish()
        life.delete_job(foreground=False)
        life.apply()
        life.hear()
        life.work()
        life.pass_time(10)
        assert [one["metadata"]["name"] for one in life.api.all(JOB)] == ["python-coder-1"], "that of the job before"
        assert life.status().get("conditions") is None
        life.flow()
        life.pass_time(2)
        life.flow()
        assert life.status()["phase"] == "Running"
        check_rest(life)
    finally:
        life.close()


def test_how_an_earlier_job_of_the_name_ended_is_not_taken_for_the_end_of_one_without_pods() -> None:
    """Mended and applied again, it waits in a queue; what becomes of its predecessor's pod is told late."""
    life = Life()

    def go_on() -> None:
        life.cluster.move()
        life.hear((FINE_TUNE_JOB, JOB))
        life.work()
        life.pass_time(2)

    try:
        life.flow()
        (pod,) = life.cluster.running()
        life.cluster.end(pod["metadata"]["name"], EndKind.USER_ERROR)
        life.flow()
        assert life.status()["phase"] == "Failed"
        life.pass_time(5)
        life.delete_job(foreground=False)
        life.apply()
        go_on()
        life.hold(True)
        go_on()
        assert life.status()["phase"] == "Queued"
        life.edit(suspend=True)
        for _ in range(3):
            go_on()
        assert life.status()["phase"] == "Suspended"
        check_rest(life)
    finally:
        life.close()


def test_a_look_in_the_backoff_of_a_job_with_a_deadline_asks_for_nothing() -> None:
    life = Life()
    try:
        life.edit(activeDeadlineSeconds=3600)
        life.flow()
        (pod,) = life.cluster.running()
        life.cluster.end(pod["metadata"]["name"], EndKind.INTERNAL_ERROR)
        life.flow()
        assert life.status()["phase"] == "Retrying"
        asked = life.connection.reads
        life.controller.queue.add((NAMESPACE, NAME))
        life.work()
        assert life.connection.reads == asked
    finally:
        life.close()


def test_a_job_that_was_made_late_for_an_earlier_attempt_is_taken_away() -> None:
    """By an operator that was stopped in the middle of a request, and replaced meanwhile."""
    life = Life(nodes=1)
    try:
        life.flow()
        first = life.api.find(JOB, f"{NAME}-1")
        assert first is not None
        life.delete_child(foreground=True)
        life.calm()
        assert life.status()["attempt"] == 2
        assert life.api.find(JOB, f"{NAME}-1") is None
        metadata = {key: first["metadata"][key] for key in ("name", "labels", "ownerReferences", "finalizers")}
        life.api.create(JOB, {**first, "metadata": metadata, "status": {}})
        life.calm()
        assert life.api.find(JOB, f"{NAME}-1") is None
        assert problems_at_rest(life) == []
    finally:
        life.close()
