"""Asks why pods are not made or not set up, where only the events of others say it; decides nothing.

A quota or an admission policy that refuses pods shows in a warning of the Job controller and nowhere else, a volume
that cannot be mounted in one of the kubelet. All jobs of a namespace share one request: the API server has no index of
events.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from . import times
from .kube.protocol import JOB, POD, Document, Kind, Kube
from .observation import Observation, Obstacle
from .policies import starting

FRESH_SECONDS = 5.0
"""How long one answer serves all jobs of the namespace."""
MOST_ANSWERS = 1000
CURRENT = timedelta(minutes=3)
"""A kubelet repeats what still troubles it at least every two minutes."""
_NAMED = re.compile(r'\b(pods?) "[^"]*" ')


class _Complaint(NamedTuple):
    what: Obstacle
    moment: datetime


@dataclass
class _Answer:
    at: float = float("-inf")
    newest: dict[str, _Complaint] = field(default_factory=dict)
    """By the uid that they are about."""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Complaints:
    """What the rest of the cluster says about pods that do not come along."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._answers: dict[tuple[str, str], _Answer] = {}

    async def about(self, seen: Observation, now: datetime) -> Obstacle | None:
        """The newest complaint about a start that nothing else explains. Raises KubeError."""
        if seen.child is None or not starting.is_unexplained(seen, now):
            return None
        here = [pod for pod in sorted(seen.pods, key=lambda pod: pod.index) if not pod.ended]
        if len(here) < seen.nodes:
            said = (await self._newest(JOB, seen.namespace)).get(seen.child.uid)
            return said.what if said else None
        newest = await self._newest(POD, seen.namespace)
        said = next((newest[pod.uid] for pod in here if pod.uid in newest and pod.started is None), None)
        return said.what if said and now - said.moment < CURRENT else None

    async def _newest(self, kind: Kind, namespace: str) -> dict[str, _Complaint]:
        if len(self._answers) > MOST_ANSWERS:
            self._answers.clear()
        answer = self._answers.setdefault((kind.plural, namespace), _Answer())
        async with answer.asking:
            if time.monotonic() - answer.at >= FRESH_SECONDS:
                answer.newest = _by_object(await self._kube.warnings(kind, namespace))
                answer.at = time.monotonic()
        return answer.newest


def _by_object(events: Iterable[Document]) -> dict[str, _Complaint]:
    found: dict[str, _Complaint] = {}
    for event in sorted(events, key=_moment):
        found[event.get("regarding", {}).get("uid", "")] = _Complaint(_obstacle(event), _moment(event))
    return found


def _moment(event: Document) -> datetime:
    """When the event was last seen; the fields depend on who wrote it."""
    said = (event.get("series") or {}).get("lastObservedTime") or event.get("deprecatedLastTimestamp")
    found = times.parse(said or event.get("eventTime") or event["metadata"].get("creationTimestamp"))
    assert found is not None, "the API server sets creationTimestamp"
    return found


def _obstacle(event: Document) -> Obstacle:
    """Its reason and note; a pod that could not be made has another name at each try."""
    return Obstacle(event.get("reason") or "Warning", _NAMED.sub(r"\1 ", event.get("note") or ""))
