"""An attempt is there and has not ended: stop it if it is to stop, else say how far it is."""

from __future__ import annotations

from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import Failure

from .. import recording, times
from ..conditions import find
from ..draft import Draft
from ..observation import LOST_AFTER, Child, Obstacle
from ..policies import deadline, hang
from ..policies import starting as start
from ..policies.ends import INTENDED
from .ended import warn_of_new

OVERDUE_EVERY = 30.0
"""Seconds between looks at the node of a pod that should have ended."""
ASK_AFTER = 5.0
"""Seconds until a queue is asked again why it holds a Job; the distances double, up to VERIFY_EVERY."""
VERIFY_EVERY = 300.0
"""Seconds after which a live attempt is looked at again without cause: a watch may have lost its end."""


def watch(draft: Draft, spec: FineTuneJobSpec, child: Child) -> None:
    """Decides about a live attempt."""
    seen = draft.seen
    draft.look_again(VERIFY_EVERY)
    _look_at_overdue(draft)
    if child.over or child.complete or child.failed:
        return  # pods are on their way out
    if _is_to_stop(draft, spec):
        if child.deleting is None:
            draft.delete.append(child)
        if spec.suspend and not spec.cancel and seen.status.phase != "Suspending":
            draft.phase("Suspending", "Suspending", "the trainer saves a checkpoint and ends")
            draft.normal("Suspending", f"attempt {seen.attempt} is asked to save a checkpoint and to end")
    elif child.deleting is not None:
        pass  # deleted by somebody else: its end is near
    elif child.suspended:
        _queued(draft)
    elif deadline.began_again(seen):
        _preempted(draft)  # stopped and let go on while nobody looked
        _starting(draft)
    elif start.started(seen):
        _running(draft)
    elif seen.status.phase == "Running" and deadline.running_since(seen) is not None:
        pass  # some pods have ended, the Job will say so
    else:
        _starting(draft)


def outlive(draft: Draft) -> None:
    """The Job is gone and pods of it still run: nothing is started beside them."""
    draft.look_again(OVERDUE_EVERY)
    _look_at_overdue(draft)


def _look_at_overdue(draft: Draft) -> None:
    for pod in draft.seen.pods:
        if pod.delete_by is not None and not pod.gone:
            left = (pod.delete_by + LOST_AFTER - draft.now).total_seconds()
            draft.look_again(left + 1 if left > 0 else OVERDUE_EVERY)


def _is_to_stop(draft: Draft, spec: FineTuneJobSpec) -> bool:
    doomed = draft.seen.status.failure
    intended = doomed is not None and doomed.attempt == draft.seen.attempt and doomed.reason in INTENDED
    draft.look_again(deadline.seconds_left(draft.seen, draft.now))
    return bool(spec.cancel or spec.suspend or intended or deadline.passed(draft.seen, draft.now))


def _queued(draft: Draft) -> None:
    """Kueue holds the Job: it waits for its turn, perhaps again. Why, is told as Kueue says it."""
    seen, said = draft.seen, draft.seen.complaint
    if seen.status.phase == "Queued":
        _take_last_words(draft)
        before = find(seen.status.conditions, "Running")
        since = times.parse(before.last_transition_time) if before else None
        draft.look_again(max(ASK_AFTER, (draft.now - since).total_seconds() if since else 0.0))
        if said is not None:
            draft.phase("Queued", "Queued", _held(said))
        return
    draft.look_again(ASK_AFTER)
    if deadline.running_since(seen) is not None:
        _preempted(draft)
    else:
        draft.normal("Queued", f"attempt {seen.attempt} waits in its queue")
    draft.phase("Queued", "Queued", _held(said) if said else "the Job is suspended by its queue")


def _preempted(draft: Draft) -> None:
    seen, said = draft.seen, draft.seen.complaint
    recording.close_run(draft.status, seen.attempt, "Preempted", draft.now, None)
    recording.charge(draft.status, "disruptions")
    _take_last_words(draft)
    told = f"attempt {seen.attempt} was preempted and goes on when its queue lets it; no retry is used up"
    draft.normal("Preempted", f"{told} ({said.message})" if said else told)


def _held(said: Obstacle) -> str:
    return f"its queue holds the Job ({said.reason}): {said.message}"


def _take_last_words(draft: Draft) -> None:
    """What a preempted run said at its end: its pods go before the Job is over, and nobody else will say it."""
    seen, last = draft.seen, draft.status.history[-1] if draft.status.history else None
    records = [record for pod in seen.pods if pod.ended and (record := pod.record(seen.uid))]
    said = next((record for record in records if record.attempt == seen.attempt), None)
    if last is not None and last.ended and last.run is None and said is not None:
        recording.take_last_words(draft.status, said)


def _starting(draft: Draft) -> None:
    """Not all pods run yet: say what keeps them, and give up after the start deadline."""
    seen = draft.seen
    if seen.status.phase == "Queued":
        draft.normal("Admitted", f"attempt {seen.attempt} was let go on by its queue")
    _take_last_words(draft)
    left = start.seconds_left(seen, draft.now)
    trouble = start.trouble(seen, draft.now)
    if left <= 0:
        reason, message = trouble or ("Starting", "not all pods run")
        _intend(draft, "StartDeadlineExceeded", f"not all pods ran within the start deadline; {reason}: {message}")
        return
    draft.look_again(min(left, start.LOOK_EVERY))
    if trouble is not None:
        before = find(seen.status.conditions, "Running")
        draft.phase("Starting", *trouble)
        if before is None or before.reason != trouble[0]:
            draft.warn(*trouble)
        return
    if start.has_young_trouble(seen):
        draft.look_again(start.PATIENCE)
    draft.phase("Starting", "Starting", f"waiting for the pods of attempt {seen.attempt}")


def _running(draft: Draft) -> None:
    """All pods run: note since when, and take the newest report over."""
    seen = draft.seen
    if deadline.running_since(seen) is None:
        moments = [pod.started for pod in seen.pods if pod.started] or [draft.now]
        job = seen.child.started if seen.child else None
        began = max([*moments, job] if job else moments)  # a node's clock may be behind
        recording.open_run(draft.status, seen.attempt, began)
    if seen.status.phase != "Running":
        draft.phase("Running", "Running", f"attempt {seen.attempt} runs")
        draft.normal("Running", f"attempt {seen.attempt} runs on {seen.nodes} node{'s' if seen.nodes > 1 else ''}")
    draft.poll = next((pod for pod in seen.pods if pod.index == 0 and pod.phase == "Running" and not pod.ended), None)
    if hang.hangs(seen, draft.now):
        _intend(draft, "Hang", "the trainer answers but has not moved for twice retryPolicy.hangTimeoutSeconds")
        return
    _take_report(draft)


def _take_report(draft: Draft) -> None:
    report, shown = draft.seen.report, draft.seen.status.progress
    if report is None or report.attempt != draft.seen.attempt:
        return
    if shown is not None and shown.updated_at == report.updated_at:
        return
    draft.from_report = draft.status == draft.seen.status
    recording.merge_report(draft.status, report)
    warn_of_new(draft)


def _intend(draft: Draft, reason: str, message: str) -> None:
    """Writes down why the operator ends this attempt; the Job is deleted once that is written."""
    draft.status.failure = Failure(reason=reason, attempt=draft.seen.attempt, message=message)
    draft.warn(reason, f"{message} (since {times.text(draft.now)})")
    draft.look_again(0.1)
