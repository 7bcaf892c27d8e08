"""Disruptions cost no retry, but five in a row at one and the same checkpoint count as one failure.

Counted are ends of attempts. A run that its queue stopped ended none: its attempt waits, takes nothing meanwhile, and
goes on when the queue's own rules let it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile, zip_longest

from finetune_api.v1alpha1.status import FineTuneJobStatus, HistoryEntry

LIMIT = 5
TOO_OFTEN = "DisruptedTooOften"
FREE = frozenset({"Interrupted", "Disrupted", "Evicted", "Preempted", "NodeLost", "PodDeleted", "JobDeleted"})


def without_progress(history: Sequence[HistoryEntry]) -> int:
    """How many of the last runs in a row were disrupted and left the checkpoint where it was, or lost one."""
    row = list(takewhile(lambda entry: entry.reason in FREE, reversed(_ends(history))))[::-1]
    furthest = list(accumulate((entry.to_step or 0 for entry in row), max))
    return sum(step == furthest[-1] for step in furthest)


def _ends(history: Sequence[HistoryEntry]) -> list[HistoryEntry]:
    """The lines without those of runs whose attempt their queue let go on."""
    pairs = zip_longest(history, history[1:])
    return [run for run, after in pairs if not (run.reason == "Preempted" and after and after.attempt == run.attempt)]


def too_often(status: FineTuneJobStatus, checkpoint_step: int | None) -> bool:
    """Whether one more disruption, with the newest checkpoint at this step, makes a row that counts as a failure."""
    closed = [entry for entry in status.history or () if entry.ended]
    now = HistoryEntry(attempt=status.attempt or 1, reason="Disrupted", to_step=checkpoint_step)
    return without_progress([*closed, now]) >= LIMIT
