"""The one decision of a reconcile: a pure function of what was observed and the clock, which writes nothing."""

from __future__ import annotations

from datetime import datetime

from finetune_api.v1alpha1.spec import FineTuneJobSpec

from . import recording
from .draft import Decision, Draft
from .observation import Observation
from .policies import deadline, ttl
from .policies.ends import CREATED, End, attempt_end, is_withdrawn
from .settings import Settings
from .stages import alive, at_rest, ended

TERMINAL = frozenset({"Succeeded", "Failed", "Cancelled"})


def decide(seen: Observation, settings: Settings, now: datetime) -> Decision:
    """What to make, delete, write and say. The same observation and moment always give the same answer."""
    if seen.deleting:
        return Decision()  # what the job owns goes by garbage collection
    if seen.status.phase in TERMINAL:
        return _after_the_end(seen, now)
    draft = Draft(seen, now)
    end = attempt_end(seen, now)
    if seen.spec is None:
        at_rest.refuse(draft, "Invalid", seen.invalid or "the stored spec is not valid")
    elif end is None and at_rest.settles(seen):
        at_rest.let_settle(draft)
    else:
        _move(draft, seen.spec, end, settings)
    return draft.decision()


def _move(draft: Draft, spec: FineTuneJobSpec, end: End | None, settings: Settings) -> None:
    """Says that the attempt was made, where the status does not say it yet, and what became of it since."""
    seen = draft.seen
    if is_withdrawn(seen, draft.now):
        recording.withdraw_failure(draft.status)
    adopted = seen.child is not None and seen.status.phase not in CREATED
    if adopted:
        at_rest.adopt(draft, spec, settings)
    if deadline.began_again(seen):
        alive.end_unseen_run(draft)
    if end is not None:
        ended.take(draft, spec, end, settings)
    elif seen.child is not None:
        alive.watch(draft, spec, seen.child)
    elif seen.status.phase in CREATED:
        alive.outlive(draft)
    elif _waits_for_others(seen, spec):
        alive.wait_for_left_over(draft, spec)
    else:
        at_rest.rest(draft, spec, settings)
    if adopted and draft.status.phase not in ("Starting", "Queued"):
        draft.drop("Started")  # it is further already, which was said


def _waits_for_others(seen: Observation, spec: FineTuneJobSpec) -> bool:
    """Whether pods of other Jobs have to end first. What is to end or to pause begins nothing: those of an earlier
    FineTuneJob do not concern it."""
    if spec.cancel or spec.suspend:
        return not all(seen.is_before(pod) for pod in seen.in_the_way)
    return bool(seen.in_the_way)


def _after_the_end(seen: Observation, now: datetime) -> Decision:
    """Terminal is terminal: nothing but the job's own deletion is left."""
    left = ttl.seconds_left(seen, now)
    if left is not None and left <= 0:
        return Decision(delete_job=True)
    if seen.status.observed_generation == seen.generation:
        return Decision(again_after=left)
    # Tools like kstatus take a job for unfinished until its newest generation was seen.
    status = seen.status.model_copy(update={"observed_generation": seen.generation})
    return Decision(status=status, again_after=left)
