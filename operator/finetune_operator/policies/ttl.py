"""When a job that is over is deleted; retained claims stay."""

from __future__ import annotations

from datetime import datetime

from .. import times
from ..observation import Observation


def seconds_left(seen: Observation, now: datetime) -> float | None:
    """Seconds until a finished job is deleted; None is never."""
    ended = times.parse(seen.status.completion_time)
    if seen.spec is None or seen.spec.ttl_seconds_after_finished is None or ended is None:
        return None
    return seen.spec.ttl_seconds_after_finished - (now - ended).total_seconds()
