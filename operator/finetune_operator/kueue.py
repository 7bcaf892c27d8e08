"""Asks Kueue why it holds a Job, where only its Workload says so; decides nothing.

Kueue makes one Workload for each Job of its queues, labelled with the Job's uid. Where no Kueue is installed, or its
Workloads may not be read, a job in a queue is as well off without the reason.
"""

from __future__ import annotations

import logging
import time
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
"""How long an answer serves: the Job and its pods change several times while it is stopped."""
ABSENT_SECONDS = 300.0
"""How long a cluster that serves no Workloads, or a namespace in which they may not be read, is not asked again."""
_REMEMBERED = 10_000

_log = logging.getLogger(__name__)


class Kueue:
    """What Kueue says of the Jobs that it holds."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._answers: dict[str, tuple[float, Obstacle | None]] = {}
        self._silent_until: dict[str | None, float] = {}
        """By namespace where Workloads may not be read, and for all (None) where none are served."""

    async def about(self, namespace: str, child: Child, labels: dict[str, str], at: datetime) -> Obstacle | None:
        """Why this suspended Job of a FineTuneJob with these labels is held; None where nothing is said."""
        now = time.monotonic()
        asked, answer = self._answers.get(child.uid, (float("-inf"), None))
        if now < max(self._silent_until.get(place, now) for place in (namespace, None)) or now - asked < FRESH_SECONDS:
            return answer
        try:
            workloads = await self._kube.list(WORKLOAD, namespace, f"{LABEL}={child.uid}")
        except (NotFoundError, ForbiddenError) as error:
            _log.info("Kueue is not asked why it holds a Job: %s", error)
            self._silent_until[namespace if isinstance(error, ForbiddenError) else None] = now + ABSENT_SECONDS
            return None
        except KubeError as error:
            _log.warning("Kueue's Workload of Job %s/%s cannot be read: %s", namespace, child.name, error)
            return answer
        if len(self._answers) > _REMEMBERED:
            self._answers.clear()
        answer = reason(workloads[-1]) if workloads else _unknown(child, labels, at)
        self._answers[child.uid] = (now, answer)
        return answer


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
