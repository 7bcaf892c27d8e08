"""Raises Kubernetes events about jobs, beside the work and never more than one of a kind a minute; decides none."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from datetime import datetime

import structlog

from finetune_api.v1alpha1 import API_VERSION, KIND

from . import names, times
from .draft import Note
from .errors import AlreadyExistsError, KubeError, NotFoundError
from .kube.protocol import EVENT, Kube
from .observation import Observation

LONGEST_NOTE = 1024
QUIET_SECONDS = 60.0
AT_ONCE = 8
"""Events that are written at the same time: with more, in a burst, the work itself would wait for them."""
_REMEMBERED = 4096
_log = structlog.get_logger(__name__)


class Announcer:
    """Writes events in the background: a lost one harms nothing, so that nothing waits for them."""

    def __init__(self, kube: Kube, instance: str, clock: Callable[[], datetime] = times.now) -> None:
        self._kube = kube
        self._instance = instance
        self._clock = clock
        self._since = clock()
        self._said: dict[tuple[str, str], float] = {}
        self._kept = _REMEMBERED
        self._writing: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(AT_ONCE)

    def announce(self, seen: Observation, note: Note) -> None:
        """Raises an event about the job, unless the same was said within a minute."""
        kind, now = (seen.uid, note.reason), time.monotonic()
        if now - self._said.get(kind, float("-inf")) < QUIET_SECONDS:
            return
        if len(self._said) >= 2 * self._kept:
            self._said = {one: at for one, at in self._said.items() if now - at < QUIET_SECONDS}
            self._kept = max(_REMEMBERED, len(self._said))
        self._said[kind] = now
        _log.info(note.message, reason=note.reason, job=f"{seen.namespace}/{seen.name}")
        task = asyncio.create_task(self._write(seen, note))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def flush(self) -> None:
        """Waits until all events are written."""
        while self._writing:
            await asyncio.gather(*self._writing)

    async def _write(self, seen: Observation, note: Note) -> None:
        document = self._document(seen, note)  # with the time at which it was said
        try:
            async with self._room:
                if not await self._was_said_before(seen, note):
                    await self._kube.create(EVENT, document)
        except AlreadyExistsError:
            pass  # said in this very minute, by an operator that ended
        except KubeError as error:
            _log.warning("an event was lost", reason=note.reason, error=str(error))

    async def _was_said_before(self, seen: Observation, note: Note) -> bool:
        """Whether an operator before this one said the same of the job within a minute."""
        now = self._clock()
        if seen.created > self._since or (now - self._since).total_seconds() >= QUIET_SECONDS:
            return False  # nobody else can have said it
        try:
            before = await self._kube.get(EVENT, seen.namespace, _name(seen, note, now, minutes_ago=1))
        except NotFoundError:
            return False
        at = times.parse(before.get("eventTime"))
        return at is not None and (now - at).total_seconds() < QUIET_SECONDS

    def _document(self, seen: Observation, note: Note) -> dict[str, object]:
        moment = self._clock()
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {"name": _name(seen, note, moment), "namespace": seen.namespace},
            "eventTime": times.micro_text(moment),
            "type": note.type,
            "reason": note.reason,
            "action": "Reconcile",
            "note": note.message[:LONGEST_NOTE],
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": seen.name,
                "namespace": seen.namespace,
                "uid": seen.uid,
            },
            "reportingController": f"finetune.dev/{names.MANAGER}",
            "reportingInstance": self._instance[:128],
        }


def _name(seen: Observation, note: Note, moment: datetime, minutes_ago: int = 0) -> str:
    """One name for all events of a kind, of a job, in one minute of the clock: there can only be one of them."""
    minute = int(moment.timestamp() // QUIET_SECONDS) - minutes_ago
    tag = hashlib.sha256(f"{seen.uid} {note.reason} {minute}".encode()).hexdigest()[:16]
    return f"{seen.name}.{tag}"
