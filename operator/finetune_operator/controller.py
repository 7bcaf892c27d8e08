"""Puts the parts together and keeps the workers going: changes in, reconciles out. Knows no kopf and no process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime

import structlog

from . import metrics, times
from .act import Actor
from .cache import Cache, Key
from .errors import ConflictError, KubeError, NotFoundError, UnavailableError
from .events import Announcer
from .kube.protocol import FINE_TUNE_JOB, Change, Document, Kind, Kube
from .observe import Observer
from .progress import ProgressReader
from .queue import FIRST_BACKOFF, WorkQueue
from .reconcile import Reconciler
from .settings import Settings

PASSING_SECONDS = 5.0
"""How long a change that is to be followed by another may wait to be looked at. Most are, and one look serves both."""
_log = structlog.get_logger(__name__)


class Controller:
    """The operator without its surroundings, over any implementation of Kube.

    `take` is the Listener for whoever watches; `run` works until cancelled. Both belong to one event loop.
    """

    def __init__(self, kube: Kube, settings: Settings, clock: Callable[[], datetime] = times.now) -> None:
        self._kube = kube
        self._settings = settings
        self.cache = Cache()
        self.queue: WorkQueue[Key] = WorkQueue()
        self.progress = ProgressReader(kube, self.queue.add, settings.progress_per_second)
        self.announcer = Announcer(kube, settings.identity, clock)
        observer = Observer(kube, self.cache, self.progress, settings)
        self._predecessors = observer.predecessors
        self._reconciler = Reconciler(
            observer,
            Actor(kube, self.cache, self.announcer),
            self.progress,
            settings,
            clock,
        )
        self.finished_at = time.monotonic()
        """When a reconcile last finished, on the monotonic clock."""

    def take(self, kind: Kind, change: Change | None, document: Document) -> None:
        """Told of a change of a FineTuneJob, a child Job or a pod."""
        concern = self.cache.take(kind, change, document)
        if concern is None:
            return
        key = concern.key
        if concern.passing:
            self.queue.add_soon(key, PASSING_SECONDS)
        else:
            self.queue.add(key)
        if kind == FINE_TUNE_JOB:
            for waiting in self._predecessors.released_by(key):
                self.queue.add(waiting)

    def listed(self, kind: Kind, namespace: str | None, uids: frozenset[str], version: str) -> None:
        """Told what a listing of child Jobs or pods had."""
        for key in self.cache.listed(kind, namespace, uids, version):
            self.queue.add(key)

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.progress.run())
            for _ in range(self._settings.workers):
                tasks.create_task(self._work())

    def phases(self) -> Iterator[str]:
        """The phase of every job that is known."""
        for document in self.cache.jobs.values():
            yield document["status"].get("phase", "Pending")

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._reconcile(key)
            finally:
                self.queue.done(key)
                self.finished_at = time.monotonic()

    async def reconcile_once(self, key: Key) -> float | None:
        """One pass over one job, for whoever drives the work himself. Raises KubeError."""
        return await self._reconciler.reconcile(key)

    async def _look_up(self, key: Key) -> None:
        """Asks for a job of which a newer version was not told within a moment, and may never be."""
        with suppress(KubeError):
            self.take(FINE_TUNE_JOB, None, await self._kube.get(FINE_TUNE_JOB, *key))

    async def _reconcile(self, key: Key) -> None:
        """One pass; whatever goes wrong harms this job alone."""
        job = "/".join(key)
        try:
            with metrics.RECONCILE_SECONDS.time():
                again = await self.reconcile_once(key)
        except NotFoundError as error:
            # The job itself went while it was worked on: its deletion may never be told.
            _log.info("the job is gone", job=job, error=str(error))
            self.cache.forget_job(key)
            self.queue.forget(key)
        except KubeError as error:
            metrics.RECONCILE_ERRORS.inc()
            delay = self.queue.failed(key, error.retry_after or 0.0)
            level = _log.info if isinstance(error, UnavailableError) else _log.warning
            level("a reconcile failed and is tried again", job=job, error=str(error), seconds=round(delay, 2))
            if isinstance(error, ConflictError) and delay > FIRST_BACKOFF:
                await self._look_up(key)
        except Exception:
            metrics.RECONCILE_ERRORS.inc()
            delay = self.queue.failed(key)
            _log.exception("a reconcile broke and is tried again", job=job, seconds=round(delay, 2))
        else:
            self.queue.succeeded(key)
            if again is not None:
                self.queue.add_after(key, again)
            elif key not in self.cache.jobs:
                self.queue.forget(key)
