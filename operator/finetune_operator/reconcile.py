"""Observe, decide, act: one pass over one job. What each of the three does is in its own file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from . import times
from .act import Actor
from .cache import Key
from .decide import decide
from .errors import NameTakenError, RefusedError
from .observation import Obstacle
from .observe import Observer
from .progress import ProgressReader
from .settings import Settings


class Reconciler:
    """Brings one job at a time from what is to what is wanted; depends on what is, never on which event came."""

    def __init__(
        self,
        observer: Observer,
        actor: Actor,
        progress: ProgressReader,
        settings: Settings,
        clock: Callable[[], datetime] = times.now,
    ) -> None:
        self._observer = observer
        self._actor = actor
        self._progress = progress
        self._settings = settings
        self._clock = clock

    async def reconcile(self, key: Key) -> float | None:
        """One pass. Returns the seconds after which the clock alone asks for another. Raises KubeError."""
        seen = await self._observer.observe(key, self._clock())
        if seen is None:
            self._progress.stop(key)
            return None
        decision = decide(seen, self._settings, self._clock())
        try:
            await self._actor.act(seen, decision)
        except (NameTakenError, RefusedError) as error:
            seen = replace(seen, obstacle=_obstacle(error))
            decision = decide(seen, self._settings, self._clock())
            await self._actor.act(seen, decision)
        self._progress.follow(key, seen, decision.poll)
        return decision.again_after


def _obstacle(error: NameTakenError | RefusedError) -> Obstacle:
    if isinstance(error, NameTakenError):
        return Obstacle(error.reason, str(error), error.passing)
    return Obstacle(error.reason, str(error))
