"""Writes what is learnt of an attempt (a progress report, a record, an end) into a status; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from finetune_api.trainer_contract import (
    FIGURES,
    Adaptation,
    AttemptRecord,
    CheckpointState,
    Effective,
    ProgressReport,
    Stage,
)
from finetune_api.v1alpha1.status import (
    CheckpointStatus,
    EffectiveStatus,
    Failure,
    FineTuneJobStatus,
    HistoryEntry,
    OutputStatus,
    Progress,
    Restarts,
)

from . import times
from .policies.ends import End
from .policies.retry import Charge

LONGEST_HISTORY = 20
MOST_WARNINGS = 10
MOST_REASONS = 20
LONGEST_CAUSE = 500
LONGEST_TEXT = 1024
_BEFORE_IT_LOOKED: frozenset[Stage] = frozenset({"Starting", "LoadingData", "LoadingModel"})
"""Stages in which a trainer may not know yet what checkpoints there are."""


def merge_report(status: FineTuneJobStatus, report: ProgressReport) -> None:
    """Takes a running trainer's report over."""
    told = report.model_dump(include=set(Progress.model_fields) - {"summary", "eta"})
    status.progress = Progress.model_validate(
        {
            **{name: _short(value) for name, value in told.items()},
            "summary": summary(report.step, report.total_steps),
            "eta": times.duration_text(report.remaining_seconds) if report.remaining_seconds is not None else None,
        }
    )
    if report.stage not in _BEFORE_IT_LOOKED:
        status.checkpoint = None  # what there was may have been gone back before
    _merge_common(status, report.checkpoint, report.effective, report.warnings)
    if report.previous is not None:
        _complete_history(status, report.previous)


def take_last_words(status: FineTuneJobStatus, record: AttemptRecord) -> None:
    """Takes over where a run stood whose attempt goes on."""
    _merge_common(status, record.checkpoint, record.effective, record.warnings)
    _complete_history(status, record)


def _complete_history(status: FineTuneJobStatus, record: AttemptRecord) -> None:
    """Fills in what a run that was killed could not say itself, and the next one found on the volume."""
    known = {"run": record.run, "from_step": record.from_step, "to_step": checkpoint_step(status, record)}

    def completed(entry: HistoryEntry) -> HistoryEntry:
        meant = entry.attempt == record.attempt and entry.ended is not None and entry.run is None
        return entry.model_copy(update=known) if meant else entry

    status.history = [completed(entry) for entry in status.history or ()]


def _short(value: Any) -> Any:
    """A number as people read it in a column; the exact ones are in metrics.jsonl."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def merge_record(status: FineTuneJobStatus, record: AttemptRecord, claim: str, directory: str) -> None:
    """Takes the record of an ended attempt over. `directory`: the trainer's output on the claim."""
    _merge_common(status, record.checkpoint, record.effective, record.warnings)
    if record.metrics:
        status.metrics = dict(record.metrics)
    if record.output is not None:
        status.output = OutputStatus(
            claim=claim,
            path=f"{directory}/{record.output.path}",
            adapter=record.output.adapter,
            bytes=record.output.bytes,
            digest=record.output.digest,
        )
    if record.step is not None:
        before = status.progress or Progress()
        total = record.total_steps or before.total_steps
        moved = {"step": record.step, "total_steps": total, "summary": summary(record.step, total)}
        figures = {name: _short(value) for name, value in _figures(record).items() if value is not None}
        left = {"remaining_seconds": None, "eta": None, "stage": None}
        status.progress = before.model_copy(update={**moved, **figures, **left})


def _figures(record: AttemptRecord) -> dict[str, float | None]:
    """Those of the record's step; a trainer that does not say them has the losses among its final metrics."""
    metrics = {"loss": record.metrics.get("last_loss"), "eval_loss": record.metrics.get("eval_loss")}
    return metrics | {name: value for name in FIGURES if (value := getattr(record, name)) is not None}


def _merge_common(
    status: FineTuneJobStatus, checkpoint: CheckpointState, effective: Effective, warnings: Sequence[str]
) -> None:
    if checkpoint.latest is not None:
        status.checkpoint = CheckpointStatus.model_validate(checkpoint.model_dump())
    said = effective.model_dump(exclude_none=True, include=set(EffectiveStatus.model_fields) - {"because"})
    status.effective = (status.effective or EffectiveStatus()).model_copy(update=said)
    because(status, effective.because)
    if warnings:
        status.warnings = _together(status.warnings, warnings, MOST_WARNINGS)


def because(status: FineTuneJobStatus, reasons: Sequence[str]) -> None:
    """Adds reasons to those of status.effective."""
    if reasons:
        effective = status.effective or EffectiveStatus()
        status.effective = effective.model_copy(update={"because": _together(effective.because, reasons, MOST_REASONS)})


def added(before: Sequence[str] | None, after: Sequence[str] | None) -> list[str]:
    """What was not there before, in order."""
    return [text for text in after or () if text not in (before or ())]


def _together(before: Sequence[str] | None, more: Sequence[str], most: int) -> list[str]:
    """Both, each once, the newest `most` of them; cut, since a report may be long and the status has its limit."""
    return list(dict.fromkeys([*(before or ()), *(text[:LONGEST_TEXT] for text in more)]))[-most:]


def summary(step: int, total: int | None) -> str:
    """`30% (120/400)`, or the step alone."""
    return f"{100 * step // total}% ({step}/{total})" if total else f"step {step}"


def open_run(status: FineTuneJobStatus, attempt: int, started: datetime) -> None:
    """Begins the history line of a run."""
    entry = HistoryEntry(attempt=attempt, started=times.text(started))
    status.history = _within_bounds([*(status.history or ()), entry])


def close_run(
    status: FineTuneJobStatus,
    attempt: int,
    reason: str,
    ended: datetime,
    started: datetime | None,
    record: AttemptRecord | None = None,
) -> None:
    """Ends the history line of the current run (or writes a whole one) and adds its time to the active seconds."""
    history = list(status.history or ())
    entry = history.pop() if history and not history[-1].ended and history[-1].attempt == attempt else None
    entry = entry or HistoryEntry(attempt=attempt, started=times.text(started) if started else None)
    begun = times.parse(entry.started)
    ended = max(ended, begun) if begun else ended
    if begun:
        status.active_seconds = (status.active_seconds or 0) + round((ended - begun).total_seconds())
    step = record.step if record else None
    closed = {
        "ended": times.text(ended),
        "reason": reason,
        "run": record.run if record else None,
        "from_step": record.from_step if record else None,
        "to_step": step if reason == "Finished" else checkpoint_step(status, record),
    }
    status.history = _within_bounds([*history, entry.model_copy(update=closed)])


def _within_bounds(history: list[HistoryEntry]) -> list[HistoryEntry]:
    """The newest lines. In the older half those of runs after which the attempt went on make room first: what bounds an
    endless row of disruptions counts the ends of attempts.
    """
    while len(history) > LONGEST_HISTORY:
        paused = (
            number
            for number, (run, after) in enumerate(pairwise(history[: -LONGEST_HISTORY // 2]))
            if run.reason == "Preempted" and run.attempt == after.attempt
        )
        del history[next(paused, 0)]
    return history


def checkpoint_step(status: FineTuneJobStatus, record: AttemptRecord | None = None) -> int | None:
    """The step of the newest complete checkpoint: as the record says, else as status knows."""
    newest = record.checkpoint.latest if record else None
    known = status.checkpoint.latest if status.checkpoint else None
    return newest.step if newest else (known.step if known else None)


def failure(end: End, attempt: int, reason: str, advice: str, ranks_per_node: int = 1) -> Failure:
    """Why an attempt ended badly, for status.failure."""
    rank = end.record.rank if end.record else None
    if rank is None and end.pod is not None and ranks_per_node == 1:
        rank = end.pod.index
    return Failure(
        reason=reason,
        attempt=attempt,
        rank=rank,
        node=end.pod.node if end.pod else None,
        exit_code=end.exit_code,
        signal=end.signal,
        message=end.message or None,
        advice=advice or None,
    )


def blame(status: FineTuneJobStatus, failure: Failure) -> None:
    """Keeps the cause with the run that ended of it: status.failure is only that of the last one."""
    message = failure.message
    if message is not None and len(message) > LONGEST_CAUSE:
        message = message[: LONGEST_CAUSE - 2].rstrip() + " …"
    kept = failure.model_copy(update={"attempt": None, "message": message})
    history = list(status.history or ())
    status.history = [*history[:-1], history[-1].model_copy(update={"failure": kept})] if history else None


def withdraw_failure(status: FineTuneJobStatus) -> None:
    """Puts the cause of the last run that did end badly, as history has it, in the place of one that ended none."""
    last = next((entry for entry in reversed(status.history or ()) if entry.failure is not None), None)
    failure = last.failure if last is not None else None
    status.failure = failure.model_copy(update={"attempt": last.attempt}) if last is not None and failure else None


def charge(status: FineTuneJobStatus, to: Charge | None) -> None:
    """Counts a restart, by its cause."""
    before = status.restarts or Restarts()
    more = {"total": before.total + 1}
    if to is not None:
        more[to] = (getattr(before, to) or 0) + 1
    status.restarts = before.model_copy(update=more)


def adapt(status: FineTuneJobStatus, adaptation: Adaptation) -> None:
    """Keeps what the next attempt does differently for its memory's sake."""
    effective = status.effective or EffectiveStatus()
    status.effective = effective.model_copy(update=adaptation.model_dump(exclude_none=True))


def diverged(status: FineTuneJobStatus, step: int) -> None:
    """Keeps, for all later attempts, the step before which the job goes back."""
    effective = status.effective or EffectiveStatus()
    status.effective = effective.model_copy(update={"diverged_at": step})
    if (checkpoint_step(status) or 0) >= step:
        status.checkpoint = None  # it will be deleted; the next attempt says which one it goes back to
