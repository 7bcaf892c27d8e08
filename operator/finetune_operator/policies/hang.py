"""Backs up the supervisor's own hang detection: acts at twice its limit, and only on a report that stands still."""

from __future__ import annotations

from datetime import datetime

from .. import times
from ..observation import Observation

TIMEOUT = 1800


def hangs(seen: Observation, now: datetime) -> bool:
    """Whether the trainer answers but has not moved for twice its limit. Without a report nothing is known."""
    if seen.report is None or seen.report.attempt != seen.attempt or seen.report.stage != "Training":
        return False  # evaluations and uploads move no step for hours: only the supervisor sees their heartbeats
    policy = seen.spec.retry_policy if seen.spec else None
    limit = policy.hang_timeout_seconds if policy and policy.hang_timeout_seconds is not None else TIMEOUT
    moved = times.parse(seen.report.updated_at)
    return moved is not None and (now - moved).total_seconds() > 2 * limit
