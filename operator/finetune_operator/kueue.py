"""Asks Kueue why it holds a Job, where only its Workload says so; decides nothing.

Kueue makes one Workload for each Job of its queues, labelled with the Job's uid. Where no Kueue is installed, or its
Workloads may not be read, a job in a queue is as well off without the reason. A queue may hold thousands of Jobs, and
each question goes through all Workloads of a namespace: whoever asks, asks for others as well.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .builders.attempt import KUEUE
from .errors import ForbiddenError, KubeError, NotFoundError
from .kube.protocol import WORKLOAD, Document, Kube
from .observation import Child, Obstacle

LABEL = f"{KUEUE}job-uid"
QUEUE, PRIORITY = f"{KUEUE}queue-name", f"{KUEUE}priority-class"
PATIENCE = 5.0
"""Seconds in which Kueue has made a Workload."""
FRESH_SECONDS = 3.0
"""How long an answer serves at least: the Job and its pods change several times while it is stopped."""
SHARE_OF_DISTANCE = 0.5
"""How long it serves else, of the time since the job's last look: so seldom does what keeps it change."""
AT_ONCE = 50
"""Jobs in one question: their uids are part of its address."""
WAITS_SECONDS = 600.0
"""A job that was not looked at for so long is held no more."""
ABSENT_SECONDS = 300.0
"""How long a cluster that serves no Workloads, or a namespace in which they may not be read, is not asked again."""
_MOST_NAMESPACES, _MOST_HELD = 1_000, 10_000
_NEVER = float("-inf")

_log = logging.getLogger(__name__)


@dataclass
class _Held:
    """A Job that Kueue holds, and what its Workload said when it was asked last."""

    looked: float = _NEVER
    """When somebody wanted to know."""
    asked: float = _NEVER
    known: bool = False
    """Whether it has a Workload."""
    said: Obstacle | None = None


@dataclass
class _Queue:
    """The held Jobs of a namespace, by uid."""

    held: dict[str, _Held] = field(default_factory=dict)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    failed: float = _NEVER
    """When a question got no answer: whoever waited for it asks no other."""

    def due(self, uid: str, now: float) -> list[str]:
        """This Job, and those of the others that were asked for longest ago."""
        others = {
            other: job.asked
            for other, job in self.held.items()
            if other != uid and now - job.asked >= FRESH_SECONDS and now - job.looked < WAITS_SECONDS
        }
        return [uid, *heapq.nsmallest(AT_ONCE - 1, others, key=others.__getitem__)]


class Kueue:
    """What Kueue says of the Jobs that it holds."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._queues: dict[str, _Queue] = {}
        self._silent_until: dict[str | None, float] = {}
        """By namespace where Workloads may not be read, and for all (None) where none are served."""

    async def about(self, namespace: str, child: Child, labels: dict[str, str], at: datetime) -> Obstacle | None:
        """Why this suspended Job of a FineTuneJob with these labels is held; None where nothing is said."""
        if len(self._queues) > _MOST_NAMESPACES:
            self._queues.clear()
        queue = self._queues.setdefault(namespace, _Queue())
        if len(queue.held) > _MOST_HELD:
            queue.held.clear()
        job = queue.held.setdefault(child.uid, _Held())
        now = time.monotonic()
        distance = now - job.looked if job.looked != _NEVER else 0.0
        job.looked, serves = now, max(FRESH_SECONDS, SHARE_OF_DISTANCE * distance)
        async with queue.asking:
            due = time.monotonic() - job.asked >= serves and queue.failed < now
            if due and not self._is_silent(namespace):
                await self._ask(namespace, queue, child)
        if job.asked == _NEVER:
            return None
        return job.said if job.known else _unknown(child, labels, at)

    def let_go(self, namespace: str, uid: str) -> None:
        """Forgets a Job that is held no more: what is said of it serves no later time."""
        if namespace in self._queues:
            self._queues[namespace].held.pop(uid, None)

    def _is_silent(self, namespace: str) -> bool:
        now = time.monotonic()
        return now < max(self._silent_until.get(place, now) for place in (namespace, None))

    async def _ask(self, namespace: str, queue: _Queue, child: Child) -> None:
        now = time.monotonic()
        uids = queue.due(child.uid, now)
        try:
            workloads = await self._kube.list(WORKLOAD, namespace, f"{LABEL} in ({','.join(uids)})")
        except (NotFoundError, ForbiddenError) as error:
            _log.info("Kueue is not asked why it holds a Job: %s", error)
            self._silent_until[namespace if isinstance(error, ForbiddenError) else None] = now + ABSENT_SECONDS
            return
        except KubeError as error:
            _log.warning("Kueue's Workload of Job %s/%s cannot be read: %s", namespace, child.name, error)
            queue.failed = time.monotonic()
            return
        found = {workload["metadata"]["labels"][LABEL]: workload for workload in workloads}
        for uid in uids:
            job, workload = queue.held.get(uid), found.get(uid)
            if job is not None:  # else it was let go meanwhile
                job.asked, job.known = now, workload is not None
                job.said = reason(workload) if workload is not None else None
        gone = [uid for uid, job in queue.held.items() if now - job.looked >= WAITS_SECONDS]
        for uid in gone:
            del queue.held[uid]


def reason(workload: Document) -> Obstacle | None:
    """What keeps a Workload from being admitted, in Kueue's words."""
    status: dict[str, Any] = workload.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    evicted, reserved = _of(conditions, "Evicted", "True"), _of(conditions, "QuotaReserved", "False")
    if workload["spec"].get("active") is False:
        why = evicted or {"reason": "Deactivated", "message": "spec.active is false"}
        name = workload["metadata"]["name"]
        return Obstacle(why["reason"], f"{why['message']}; Workload {name} stays out until its spec.active is true")
    for check in status.get("admissionChecks") or ():
        if reserved is None and check.get("state") != "Ready":
            return Obstacle(f"AdmissionCheck{check['state']}", f"{check['name']}: {check.get('message') or 'waits'}")
    said = reserved or evicted
    return Obstacle(said["reason"], said["message"]) if said else None


def _unknown(child: Child, labels: dict[str, str], at: datetime) -> Obstacle | None:
    """Kueue makes the Workload at once, or logs why it cannot and tries again."""
    age = (at - child.created).total_seconds() if child.created else 0.0
    if QUEUE not in labels or age < PATIENCE:
        return None
    asked = f", and is there a WorkloadPriorityClass {labels[PRIORITY]}" if PRIORITY in labels else ""
    return Obstacle("NoWorkload", f"Kueue has made no Workload for it; does Kueue run{asked}?")


def _of(conditions: dict[str, dict[str, Any]], kind: str, value: str) -> dict[str, Any] | None:
    found = conditions.get(kind)
    return found if found is not None and found["status"] == value else None
