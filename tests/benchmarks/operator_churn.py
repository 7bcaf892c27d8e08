"""Jobs of which a quarter is disturbed as in a busy cluster: some crash once, some pause, some are preempted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.operator_jobs import Document, fine_tune_job
from tests.benchmarks.operator_load import FINE_TUNE_JOBS, Load, LoadError, Times, has_condition

FAILED, PAUSED, PREEMPTED, UNDISTURBED = "failed once", "paused and resumed", "preempted", "undisturbed"
_OF_TWENTY = {0: FAILED, 1: FAILED, 2: PAUSED, 3: PAUSED, 4: PREEMPTED}
_LABELS = {FAILED: "fails-once", PAUSED: "waits-once", PREEMPTED: "waits-once"}
_CHARGED = {FAILED: "failures", PREEMPTED: "disruptions"}


@dataclass
class Churned:
    """What came of it."""

    times: Times
    kinds: dict[str, int]
    attempts: int
    attempts_wanted: int
    wrong: list[str]
    """Jobs that did not end as they should, with what is wrong."""


def kind_of(number: int) -> str:
    """10 % fail once, 10 % are suspended and resumed, 5 % are preempted."""
    return _OF_TWENTY.get(number % 20, UNDISTURBED)


async def churn(load: Load, namespace: str, count: int, seconds: float) -> Churned:
    """Create the jobs, disturb them, and wait until each has ended. Raises LoadError when they do not in time."""
    kinds = {f"job-{number}": kind_of(number) for number in range(count)}
    player = _Player(load, namespace, kinds)
    path = FINE_TUNE_JOBS.format(namespace)
    documents = [_job(name, kind) for name, kind in kinds.items()]
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            group.create_task(load.create_all(path, documents, player.times))
            group.create_task(player.follow(path))
    except TimeoutError:
        missing = sorted(set(kinds) - set(player.times.ended))
        raise LoadError(f"{len(missing)} of {count} had not ended after {seconds:.0f} s: {missing[:3]}") from None
    wanted = sum(_attempts(kind) for kind in kinds.values())
    attempts = sum(job["status"].get("attempt", 0) for job in player.ends.values())
    wrong = [said for name, job in player.ends.items() for said in _wrong(job, kinds[name])]
    return Churned(player.times, dict(Counter(kinds.values())), attempts, wanted, wrong)


@dataclass
class _Player:
    """Does to each job what its kind says, once."""

    load: Load
    namespace: str
    kinds: dict[str, str]
    times: Times = field(default_factory=Times)
    ends: dict[str, Document] = field(default_factory=dict)
    _done: set[tuple[str, str]] = field(default_factory=set)

    async def follow(self, path: str) -> None:
        async with asyncio.TaskGroup() as group:

            def take(job: Document) -> None:
                for deed in self._deeds(job):
                    group.create_task(deed)

            await self.load.follow(path, '"phase":', take, until=lambda: len(self.ends) == len(self.kinds))

    def _deeds(self, job: Document) -> list[Coroutine[Any, Any, None]]:
        name, status = job["metadata"]["name"], job.get("status", {})
        kind, phase = self.kinds[name], status.get("phase")
        if any(has_condition(job, end) for end in ("Succeeded", "Failed", "Cancelled")):
            self.times.ended.setdefault(name, time.monotonic())
            self.ends[name] = job
        elif phase == "Running" and status.get("attempt") == 1 and self._is_new(name, phase):
            if kind == PAUSED:
                return [self._suspend(name, True)]
            if kind == PREEMPTED:
                return [self._preempt(name)]
        elif phase == "Suspended" and self._is_new(name, phase):
            return [self._suspend(name, False)]
        return []

    def _is_new(self, name: str, phase: str) -> bool:
        new = (name, phase) not in self._done
        self._done.add((name, phase))
        return new

    async def _suspend(self, name: str, value: bool) -> None:
        await self.load.patch(f"{FINE_TUNE_JOBS.format(self.namespace)}/{name}", {"spec": {"suspend": value}})

    async def _preempt(self, name: str) -> None:
        """As the scheduler does it: a condition, then a deletion with its grace."""
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        found = await self.load.get(f"{pods}?labelSelector=batch.kubernetes.io/job-name={name}-1")
        for pod in found["items"]:
            target = {
                "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                "lastTransitionTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }  # fmt: skip
            conditions = [*pod["status"].get("conditions", []), target]
            path = f"{pods}/{pod['metadata']['name']}"
            await self.load.patch(f"{path}/status", {"status": {"conditions": conditions}})
            await self.load.delete(path)


def _job(name: str, kind: str) -> Document:
    document = fine_tune_job(name, _LABELS.get(kind))
    document["spec"]["retryPolicy"] = {"backoffSeconds": 1}
    return document


def _attempts(kind: str) -> int:
    return 1 if kind == UNDISTURBED else 2


def _wrong(job: Document, kind: str) -> list[str]:
    status, name = job["status"], job["metadata"]["name"]
    restarts = {cause: count for cause, count in status.get("restarts", {}).items() if count and cause != "total"}
    wanted = {_CHARGED[kind]: 1} if kind in _CHARGED else {}
    if status.get("phase") != "Succeeded" or status.get("attempt") != _attempts(kind) or restarts != wanted:
        return [f"{name}, {kind}: {status.get('phase')} in attempt {status.get('attempt')}, restarts {restarts}"]
    return []
