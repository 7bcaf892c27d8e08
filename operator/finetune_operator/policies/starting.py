"""Whether an attempt has started, what keeps it from that, and how long it may take."""

from __future__ import annotations

from datetime import datetime

from ..observation import Observation, running

DEADLINE = 3600
PATIENCE = 5.0
"""Seconds for which a pod may be unschedulable unmentioned: volumes are bound and nodes added meanwhile."""
LOOK_EVERY = 8.0
"""Seconds between looks for what keeps pods from starting that say nothing themselves."""


def started(seen: Observation) -> bool:
    """Whether all pods run, or did before one ended. Pods that are gone, or told to end, may be those of a run before a
    preemption: a queue lets a Job go on as soon as it has asked them to."""
    there = [pod for pod in seen.pods if not pod.gone and pod.delete_by is None]
    begun = sum(pod.started is not None or pod.phase in ("Running", "Succeeded", "Failed") for pod in there)
    return begun >= seen.nodes and running(seen.pods) > 0


def trouble(seen: Observation, now: datetime) -> tuple[str, str] | None:
    """Reason and message of what keeps the first troubled pod from starting, or from being there at all."""
    for pod in sorted(seen.pods, key=lambda p: p.index):
        if pod.waiting and not pod.ended and pod.created and (now - pod.created).total_seconds() >= PATIENCE:
            reason, _, message = pod.waiting.partition(": ")
            return reason, f"pod {pod.name}: {message}"
    return (seen.complaint.reason, seen.complaint.message) if seen.complaint else None


def is_unexplained(seen: Observation, now: datetime) -> bool:
    """Whether pods do not start, long enough after their Job was let begin, and none of them says why."""
    child = seen.child
    if child is None or child.started is None or child.over or child.deleting or child.suspended or started(seen):
        return False
    silent = not any(pod.waiting for pod in seen.pods if not pod.ended)
    return silent and seen.status.phase != "Running" and (now - child.started).total_seconds() >= LOOK_EVERY


def has_young_trouble(seen: Observation) -> bool:
    """Whether a pod has a trouble that may be worth a word soon."""
    return any(pod.waiting and not pod.ended for pod in seen.pods)


def seconds_left(seen: Observation, now: datetime) -> float:
    """Seconds in which all pods must run; they begin when the Job controller lets it begin, or begin again."""
    policy = seen.spec.retry_policy if seen.spec else None
    allowed = policy.start_deadline_seconds if policy and policy.start_deadline_seconds is not None else DEADLINE
    began = (seen.child.started if seen.child else None) or now  # not `created`: that was before it was queued
    if seen.status.phase == "Queued":
        began = now  # just let go: what its Job says of its start may be of the time before it was held
    return allowed - (now - began).total_seconds()
