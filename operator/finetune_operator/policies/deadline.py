"""The deadline on active time, added up over attempts and pauses; time in the queue or suspended does not count."""

from __future__ import annotations

from datetime import datetime

from .. import times
from ..observation import Observation

USED_UP = "spec.activeDeadlineSeconds of active time are used up"


def running_since(seen: Observation) -> datetime | None:
    """When the current run began, or None when none is under way."""
    last = seen.status.history[-1] if seen.status.history else None
    if last is None or last.ended or last.attempt != seen.attempt:
        return None
    return times.parse(last.started)


def began_again(seen: Observation) -> bool:
    """Whether the Job was let go on by its queue since the current run began: that one is over. No run is written down
    as begun before its Job was, whatever the node's clock says."""
    since, started = running_since(seen), seen.child.started if seen.child else None
    return since is not None and started is not None and started > since


def seconds_left(seen: Observation, now: datetime) -> float | None:
    """Seconds until the deadline; None when there is none. Not above 0: it has passed."""
    if seen.spec is None or seen.spec.active_deadline_seconds is None:
        return None
    since = running_since(seen)
    active = (seen.status.active_seconds or 0) + ((now - since).total_seconds() if since else 0.0)
    return seen.spec.active_deadline_seconds - active


def passed(seen: Observation, now: datetime) -> bool:
    """Whether the job's active time is used up."""
    left = seconds_left(seen, now)
    return left is not None and left <= 0
