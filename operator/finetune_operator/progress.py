"""Asks running trainers how far they are, beside the work and paced for the whole fleet; writes and decides nothing.

The answer comes from a tenant's pod: only a report that the model takes, with the job's uid and the attempt, counts.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from finetune_api.trainer_contract import ProgressReport

from . import times
from .cache import Key
from .errors import NoProgressError
from .kube.protocol import Kube
from .observation import Observation, Pod

FIRST_SECONDS = 5.0
EARLY_SECONDS, EARLY_UNTIL = 10.0, 120.0
USUAL_SECONDS = 30.0
AT_ONCE = 40
"""Requests under way: when all of them time out, twenty a second still get through."""
_log = structlog.get_logger(__name__)


@dataclass
class _Followed:
    """A running attempt whose trainer is asked."""

    uid: str
    attempt: int
    pod: Pod
    since: float
    report: ProgressReport | None = None


class ProgressReader:
    """Keeps the newest report of each running job and tells when there is a new one."""

    def __init__(self, kube: Kube, changed: Callable[[Key], None], per_second: float) -> None:
        self._kube = kube
        self._changed = changed
        self._per_second = per_second
        self._followed: dict[Key, _Followed] = {}
        self._due: list[tuple[float, int, Key, _Followed]] = []
        self._order = itertools.count()
        self._wake = asyncio.Event()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._asking: set[asyncio.Task[None]] = set()

    def follow(self, key: Key, seen: Observation, pod: Pod | None) -> None:
        """Asks the trainer in this pod from now on; None ends that."""
        known = self._followed.get(key)
        if pod is None:
            self._followed.pop(key, None)
        elif known is not None and known.pod.uid == pod.uid:
            known.pod = pod
        else:
            self._followed[key] = _Followed(seen.uid, seen.attempt, pod, time.monotonic())
            self._plan(key, self._followed[key], FIRST_SECONDS)

    def stop(self, key: Key) -> None:
        """Forgets a job that is gone."""
        self._followed.pop(key, None)

    def report(self, key: Key, uid: str) -> ProgressReport | None:
        """The newest report of the running attempt of the job with this uid."""
        followed = self._followed.get(key)
        return followed.report if followed is not None and followed.uid == uid else None

    async def run(self) -> None:
        """Asks whoever is due, until cancelled."""
        try:
            while True:
                await self._wait()
                while self._due and self._due[0][0] <= time.monotonic():
                    _, _, key, followed = heapq.heappop(self._due)
                    if self._followed.get(key) is not followed:
                        continue  # ended meanwhile, or was begun anew
                    await self._room.acquire()
                    task = asyncio.create_task(self._ask(key, followed))
                    self._asking.add(task)
                    task.add_done_callback(self._asking.discard)
        finally:
            for task in self._asking:
                task.cancel()

    async def _wait(self) -> None:
        self._wake.clear()
        delay = self._due[0][0] - time.monotonic() if self._due else None
        if delay is None or delay > 0:
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                return

    def _plan(self, key: Key, followed: _Followed, seconds: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), key, followed))
        self._wake.set()

    async def _ask(self, key: Key, followed: _Followed) -> None:
        try:
            body = await self._kube.progress(key[0], followed.pod.name, followed.pod.address)
            report = _read(body, followed)
            if followed.report is None or report.updated_at != followed.report.updated_at:
                followed.report = report
                self._changed(key)
        except NoProgressError as error:
            followed.report = None  # an old one would look like a trainer that stands still
            _log.debug("no progress report", job="/".join(key), error=str(error))
        finally:
            self._room.release()
            self._plan(key, followed, self._interval(followed))

    def _interval(self, followed: _Followed) -> float:
        """Seconds until the next question: often at first, and seldom enough for the fleet's budget of writes."""
        early = time.monotonic() - followed.since < EARLY_UNTIL
        return max(EARLY_SECONDS if early else USUAL_SECONDS, len(self._followed) / self._per_second)


def _read(body: bytes, followed: _Followed) -> ProgressReport:
    """The report in a body. Raises NoProgressError for one that is not this attempt's."""
    try:
        report = ProgressReport.load(body)
        said = times.parse(report.updated_at)
    except ValueError as error:
        raise NoProgressError(f"not a progress report: {error}") from None
    if said is None or said.tzinfo is None:
        raise NoProgressError(f"no moment with a time zone: updatedAt {report.updated_at[:100]!r}")
    if report.uid != followed.uid or report.attempt != followed.attempt:
        raise NoProgressError(f"a report of {report.uid}, attempt {report.attempt}")
    return report
