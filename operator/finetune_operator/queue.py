"""A work queue that never holds a key twice and never gives one key to two workers; knows nothing of what keys mean.

As in client-go: a key added while it is worked on is given out again afterwards. Failures back off per key.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

FIRST_BACKOFF = 0.05
LONGEST_BACKOFF = 60.0

K = TypeVar("K")


class WorkQueue(Generic[K]):
    """Keys that wait for a worker. Belongs to one event loop; all times are seconds of `clock`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._working: dict[K, float] = {}
        self._due: dict[K, float] = {}
        self._soon: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0
        self._failures: dict[K, int] = {}
        self._workers: deque[asyncio.Future[None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._alarm: tuple[float, asyncio.TimerHandle] | None = None
        self._rest = asyncio.Event()

    def add(self, key: K) -> None:
        """Asks for the key to be worked on now. A later time that was asked for stays."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._hand_out(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Asks for the key to be worked on after a time; of several times the earliest counts."""
        self._plan(self._due, key, seconds)

    def add_soon(self, key: K, seconds: float) -> None:
        """Asks for the key to be worked on within a time; if that begins earlier for another reason, that serves."""
        if key not in self._dirty:
            self._plan(self._soon, key, seconds)

    def _plan(self, times: dict[K, float], key: K, seconds: float) -> None:
        due = self._clock() + max(0.0, seconds)
        if due >= times.get(key, float("inf")):
            return
        times[key] = due
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, key))
        if self._workers:
            self._set_alarm(due)

    def forget(self, key: K) -> None:
        """Drops what is planned for the key and what is known of its failures."""
        self._due.pop(key, None)
        self._soon.pop(key, None)
        self._failures.pop(key, None)

    def failed(self, key: K, at_least: float = 0.0) -> float:
        """Plans another try, later with each failure in a row. Returns the seconds until then."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = max(at_least, min(FIRST_BACKOFF * 2.0 ** min(failures, 30), LONGEST_BACKOFF))
        self.add_after(key, delay)
        return delay

    def succeeded(self, key: K) -> None:
        """Ends a row of failures."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key, once there is one. The caller says `done` afterwards."""
        self._loop = asyncio.get_running_loop()
        while True:
            self._release_due()
            if self._ready:
                break
            worker = self._loop.create_future()
            self._workers.append(worker)
            try:
                await worker
            except asyncio.CancelledError:
                if worker.done() and not worker.cancelled():
                    self._wake_one()  # in its place
                raise
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._soon.pop(key, None)
        self._working[key] = self._clock()
        return key

    async def idle(self) -> None:
        """Returns once nothing waits for a worker and nothing is worked on."""
        while self._ready or self._working:
            self._rest.clear()
            await self._rest.wait()

    def done(self, key: K) -> None:
        """Ends the work on a key; gives it out again when it was added meanwhile."""
        self._working.pop(key, None)
        if key in self._dirty:
            self._hand_out(key)
        elif not self._ready and not self._working:
            self._rest.set()

    def __len__(self) -> int:
        """Keys that wait for a worker now."""
        return len(self._ready)

    def longest_work(self) -> float:
        """Seconds that the oldest unfinished piece of work has taken; 0 when nothing is worked on."""
        return max((self._clock() - since for since in self._working.values()), default=0.0)

    def _hand_out(self, key: K) -> None:
        self._ready.append(key)
        self._wake_one()

    def _wake_one(self) -> None:
        """Wakes a worker that waits, one for each key: all of them would ask in vain."""
        while self._workers:
            worker = self._workers.popleft()
            if not worker.done():
                worker.set_result(None)
                return

    def _release_due(self) -> None:
        """Makes what is due ready, and has itself called when the next is."""
        now = self._clock()
        while self._heap:
            due, _, key = self._heap[0]
            times = self._due if self._due.get(key) == due else self._soon
            if times.get(key) != due:
                heapq.heappop(self._heap)  # forgotten, served, or an earlier time was asked for
            elif due <= now:
                heapq.heappop(self._heap)
                del times[key]
                self.add(key)
            else:
                self._set_alarm(due)
                return

    def _set_alarm(self, due: float) -> None:
        """Has what is due released then; an alarm that comes earlier sees to the later ones."""
        if self._alarm is not None:
            set_for, timer = self._alarm
            if set_for <= due and not timer.cancelled():
                return
            timer.cancel()
        assert self._loop is not None  # a worker has asked for a key
        timer = self._loop.call_later(due - self._clock(), self._ring)
        self._alarm = (due, timer)

    def _ring(self) -> None:
        self._alarm = None
        self._release_due()
