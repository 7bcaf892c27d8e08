"""An attempt is there and has not ended: stop it if it is to stop, else say how far it is."""

from __future__ import annotations

from datetime import datetime

from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import Failure

from .. import recording, times
from ..conditions import find
from ..draft import Draft
from ..observation import LOST_AFTER, Child, Obstacle
from ..policies import deadline, hang
from ..policies import starting as start
from ..policies.ends import intended
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
    elif deadline.passed(seen, draft.now) and not deadline.began_again(seen):  # then most of it was no active time
        # Written down before the Job goes: what ended the attempt must not depend on the node's clock.
        draft.status.failure = Failure(reason="DeadlineExceeded", attempt=seen.attempt, message=deadline.USED_UP)
        draft.look_again(0.1)
    elif child.suspended:
        _queued(draft)
    elif deadline.began_again(seen):
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


def wait_for_left_over(draft: Draft, spec: FineTuneJobSpec) -> None:
    """Pods of other Jobs of this name have their grace: nothing is started beside them."""
    outlive(draft)
    seen = draft.seen
    resumed = seen.status.phase == "Suspended" and not (spec.suspend or spec.cancel)
    if resumed or seen.status.phase in (None, "Pending"):
        first, *others = sorted(seen.in_the_way, key=lambda pod: pod.name)
        whose = "job of this name" if all(seen.is_before(pod) for pod in seen.in_the_way) else "attempt"
        message = f"a pod of an earlier {whose} has not ended: {first.name}{', …' if others else ''}"
        before = find(seen.status.conditions, "Running")
        draft.phase("Pending", "WaitingForPods", message)
        if before is None or before.reason != "WaitingForPods":
            draft.normal("WaitingForPods", message)


def end_unseen_run(draft: Draft) -> None:
    """Its queue stopped the Job and let it go on while nobody looked: the run before is written down. When it ended is
    not known; it was heard of at its last report."""
    seen = draft.seen
    heard = times.parse(seen.status.progress.updated_at) if seen.status.progress else None
    since, again = deadline.running_since(seen), seen.child.started if seen.child else None
    _preempted(draft, min(heard or since or draft.now, again or draft.now))


def _look_at_overdue(draft: Draft) -> None:
    for pod in (*draft.seen.pods, *draft.seen.left_over):
        if pod.delete_by is not None and not pod.gone:
            left = (pod.delete_by + LOST_AFTER - draft.now).total_seconds()
            draft.look_again(left + 1 if left > 0 else OVERDUE_EVERY)


def _is_to_stop(draft: Draft, spec: FineTuneJobSpec) -> bool:
    left = deadline.seconds_left(draft.seen, draft.now)
    if left is not None and left > 0:
        draft.look_again(left)
    return bool(spec.cancel or spec.suspend or intended(draft.seen, draft.now) is not None)


def _queued(draft: Draft) -> None:
    """Kueue holds the Job: it waits for its turn, perhaps again. Why, is told as Kueue says it."""
    seen, said = draft.seen, draft.seen.complaint
    if seen.status.phase == "Queued":
        _take_last_words(draft)
        before = find(seen.status.conditions, "Running")
        held = seen.child.created if seen.child else None
        moved = times.parse(before.last_transition_time) if before else None
        since = max((moment for moment in (held, moved) if moment), default=draft.now)
        draft.look_again(max(ASK_AFTER, (draft.now - since).total_seconds()))
        if said is not None:
            draft.phase("Queued", "Queued", _held(said))
        return
    draft.look_again(ASK_AFTER)
    if deadline.running_since(seen) is not None and not deadline.began_again(seen):  # else it was written down already
        _preempted(draft, draft.now)
    else:
        draft.normal("Queued", f"attempt {seen.attempt} waits in its queue")
    draft.phase("Queued", "Queued", _held(said) if said else "the Job is suspended by its queue")


def _preempted(draft: Draft, ended: datetime) -> None:
    seen, said = draft.seen, draft.seen.complaint
    recording.close_run(draft.status, seen.attempt, "Preempted", ended, None)
    recording.charge(draft.status, "disruptions")
    _take_last_words(draft)
    told = f"attempt {seen.attempt} was preempted and goes on when its queue lets it; no retry is used up"
    draft.normal("Preempted", f"{told} ({said.message})" if said else told)


def _held(said: Obstacle) -> str:
    return f"its queue holds the Job ({said.reason}): {said.message}"


def _take_last_words(draft: Draft) -> None:
    """What a preempted run said at its end: its pods go before the Job is over, and nobody else will say it."""
    seen, last = draft.seen, draft.status.history[-1] if draft.status.history else None
    again = seen.child.started if seen.child and not seen.child.suspended else None
    before = [pod for pod in seen.pods if again is None or pod.created is None or pod.created < again]
    records = [record for pod in (*before, *seen.replaced) if pod.ended and (record := pod.record(seen.uid))]
    known = {line.run for line in draft.status.history or () if line.attempt == seen.attempt}
    said = next((record for record in records if record.attempt == seen.attempt and record.run not in known), None)
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
        _take_last_words(draft)
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
