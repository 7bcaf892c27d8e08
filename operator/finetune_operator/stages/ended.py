"""An attempt has ended: write down how, and say what follows: success, failure, pause, cancellation or another try."""

from __future__ import annotations

from datetime import datetime

from finetune_api.v1alpha1.defaults import resolve
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import Failure

from .. import names, recording, times
from ..draft import Draft
from ..policies import deadline, retry
from ..policies.ends import End, of_this_run
from ..settings import Settings

_OURS = frozenset({"Interrupted", "Disrupted", "DeadlineExceeded"})


def take(draft: Draft, spec: FineTuneJobSpec, end: End, settings: Settings) -> None:
    """Decides what the end of the current attempt means."""
    seen, status = draft.seen, draft.status
    claim = spec.storage.claim.name if spec.storage and spec.storage.claim else names.claim_name(seen.name)
    _take_words_of_preempted(draft)
    if end.record is not None:
        recording.merge_record(status, end.record, claim, seen.name)
    warn_of_new(draft)
    late = end.name == "DeadlineExceeded"
    asked = end.name in _OURS and bool(spec.cancel or (spec.suspend and not late))
    resolved = resolve(spec, settings.platform).spec
    verdict = retry.verdict(end, seen.status, resolved, recording.checkpoint_step(status))
    stopped = "Cancelled" if spec.cancel else "Suspended"
    recording.close_run(status, seen.attempt, stopped if asked else verdict.reason, *_times(draft, end), end.record)
    if verdict.outcome == "Succeeded":
        _succeeded(draft, end)
    elif spec.cancel and end.name in _OURS:
        finish(draft, "Cancelled", "Cancelled", f"cancelled{_at_step(draft)}")
    elif late:
        fail_deadline(draft)
    elif asked:  # a pause that somebody asked for is no disruption, and is charged to nobody
        if deadline_passed(draft, spec):
            fail_deadline(draft)
        else:
            status.attempt = seen.attempt + 1
            suspend(draft)
    else:
        _bad(draft, spec, end, verdict)


def _take_words_of_preempted(draft: Draft) -> None:
    """What a run said that its queue had stopped, where its Job went before that was taken over."""
    seen, history = draft.seen, draft.status.history
    before = [pod for pod in seen.pods if pod not in of_this_run(seen)]
    records = [record for pod in sorted(before, key=lambda pod: pod.index) if (record := pod.record(seen.uid))]
    if records and history and history[-1].run is None:
        recording.take_last_words(draft.status, records[0])


def warn_of_new(draft: Draft) -> None:
    """Raises an event for what the trainer has warned of since the last look: a torn checkpoint, a full disk."""
    new = recording.added(draft.seen.status.warnings, draft.status.warnings)
    if new:
        draft.warn("TrainerWarning", "; ".join(new))


def _times(draft: Draft, end: End) -> tuple[datetime, datetime | None]:
    """End and start of the run; from the pods where they are known, else from the Job."""
    pods = of_this_run(draft.seen)
    started = max((pod.started for pod in pods if pod.started), default=None)
    finished = max((pod.finished for pod in pods if pod.finished), default=None)
    return finished or end.at, started


def _succeeded(draft: Draft, end: End) -> None:
    record = end.record
    reason = "AlreadyComplete" if record is not None and record.already_complete else "Finished"
    where = draft.status.output.path if draft.status.output else None
    message = "the result was there already" if reason == "AlreadyComplete" else "training finished"
    finish(draft, "Succeeded", reason, f"{message}; it lies at {where}" if where else message)
    draft.status.failure = None


def _bad(draft: Draft, spec: FineTuneJobSpec, end: End, verdict: retry.Verdict) -> None:
    seen, status = draft.seen, draft.status
    ranks_per_node = max(1, (spec.compute.gpus_per_node or 0) if spec.compute else 0)
    status.failure = recording.failure(end, seen.attempt, verdict.reason, verdict.advice, ranks_per_node)
    recording.blame(status, status.failure)
    said = f"attempt {seen.attempt} ended: {verdict.reason}" + (f": {end.message}" if end.message else "")
    if verdict.outcome == "Failed":
        spent = verdict.reason in retry.CHARGED
        finish(draft, "Failed", "RetriesExhausted" if spent else verdict.reason, _with(said, verdict.advice))
        return
    recording.charge(status, verdict.charge)
    if verdict.adaptation is not None:
        recording.adapt(status, verdict.adaptation)
        recording.because(status, [verdict.advice])
        draft.normal("Adapted", verdict.advice)
    if verdict.diverged_at is not None:
        recording.diverged(status, verdict.diverged_at)
        draft.warn("Rewinding", verdict.advice)
    status.attempt = seen.attempt + 1
    if spec.cancel:
        finish(draft, "Cancelled", "Cancelled", f"cancelled{_at_step(draft)}; {said}")
    elif deadline_passed(draft, spec):
        fail_deadline(draft)
    elif spec.suspend:
        suspend(draft)
    else:
        draft.phase("Retrying", verdict.reason, said)
        draft.warn("Retrying", f"{said}; attempt {status.attempt} follows{_at_step(draft)}")
        due = retry.next_start(status, spec)
        draft.look_again(max(0.1, (due - draft.now).total_seconds()) if due else 0.1)


def deadline_passed(draft: Draft, spec: FineTuneJobSpec) -> bool:
    """Whether the active seconds, those of the run that just ended included, reach the deadline."""
    limit = spec.active_deadline_seconds
    return limit is not None and (draft.status.active_seconds or 0) >= limit


def fail_deadline(draft: Draft) -> None:
    """Ends a job whose active time is used up."""
    message, advice = deadline.USED_UP, "raise it"
    draft.status.failure = Failure(
        reason="DeadlineExceeded", attempt=draft.seen.attempt, message=message, advice=advice
    )
    finish(draft, "Failed", "DeadlineExceeded", f"{message}; {advice}")


def suspend(draft: Draft) -> None:
    """No attempt is there and none is wanted."""
    if draft.status.phase == "Suspended":
        return
    message = f"paused{_at_step(draft)}"
    draft.phase("Suspended", "Suspended", message)
    draft.condition("Suspended", True, "Suspended", message)
    draft.normal("Suspended", message)


def finish(draft: Draft, phase: str, reason: str, message: str) -> None:
    """Ends the job for good."""
    draft.status.completion_time = times.text(draft.now)
    draft.status.attempt = draft.seen.attempt
    draft.condition(phase, True, reason, message)
    draft.phase(phase, reason, message)
    draft.notes = [note for note in draft.notes if note.reason != "Retrying"]
    (draft.warn if phase == "Failed" else draft.normal)(phase if phase != "Failed" else reason, message)
    left = draft.seen.spec.ttl_seconds_after_finished if draft.seen.spec else None
    draft.look_again(left)


def _at_step(draft: Draft) -> str:
    step = recording.checkpoint_step(draft.status)
    return f" at the checkpoint of step {step}" if step is not None else ""


def _with(message: str, advice: str) -> str:
    return f"{message} — {advice}" if advice else message
