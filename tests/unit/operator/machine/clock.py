"""A clock that moves only when told to, and an event loop that lives by it; waits for nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Wall and monotonic time of a played life."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return _BEGIN + timedelta(seconds=self.seconds)

    def text(self) -> str:
        """The moment as Kubernetes writes it."""
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def monotonic(self) -> float:
        return self.seconds

    def queue(self) -> float:
        """A hair ahead of the loop's timers: a rounded delay must not leave a key waiting for ever."""
        return self.seconds + 1e-6


class Loop(asyncio.SelectorEventLoop):
    """Runs what is ready and due by the clock, and returns."""

    def __init__(self, clock: Clock) -> None:
        self._lived = clock
        super().__init__()

    def time(self) -> float:
        return self._lived.seconds

    def settle(self) -> None:
        """Runs until nothing is left to do at this moment."""
        for _ in range(10_000):
            if not self._ready and not self._is_due():
                return
            self.call_soon(self.stop)
            self.run_forever()
        raise AssertionError("the operator works without end although time stands still")

    def _is_due(self) -> bool:
        return bool(self._scheduled) and self._scheduled[0].when() <= self._lived.seconds
