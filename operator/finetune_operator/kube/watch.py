"""Lists and watches one kind of object, for ever; tells a listener what came and what a listing no longer has.

For the children, of which there are many: a change costs a fraction of what it costs through kopf, and the end of a
listing is told, so that what is gone is known to be gone.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from ..errors import ExpiredError, KubeError
from .client import ApiServer
from .protocol import Change, Document, Kind

PAGE = 500
WATCH_SECONDS = 300
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
_log = structlog.get_logger(__name__)


class Intake(Protocol):
    """Who is told. Nothing here blocks or raises."""

    def take(self, kind: Kind, change: Change | None, document: Document) -> None:
        """Told of an object: as it was listed (no change), or as it was changed."""

    def listed(self, kind: Kind, namespace: str | None, uids: frozenset[str], version: str) -> None:
        """Told that a listing of a namespace (None: of all) ended, what was in it, and its resourceVersion."""


@dataclass
class Watch:
    """One kind in one namespace, or in all."""

    server: ApiServer
    intake: Intake
    kind: Kind
    namespace: str | None
    labels: str
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once everything was listed."""
    _version: str | None = field(default=None, init=False)
    """The newest that was seen; None asks for a listing."""

    async def run(self) -> None:
        """Watches until cancelled, over errors of any kind."""
        pause = FIRST_PAUSE
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._follow()
                pause = FIRST_PAUSE
            except ExpiredError:
                self._version = None
            except KubeError as error:
                _log.warning("a watch broke and goes on", kind=self.kind.name, error=str(error), seconds=pause)
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _list(self) -> None:
        """Tells of everything there is."""
        self._version = await tell_all(self.server, self.intake, self.kind, self.namespace, self.labels)
        self.synced.set()

    async def _follow(self) -> None:
        """Tells of changes until the server ends the watch."""
        seconds = int(WATCH_SECONDS * random.uniform(0.8, 1.2))
        changes = self.server.changes(self.kind, self.namespace, self.labels, self._version or "", seconds)
        async for change, document in changes:
            self._version = document["metadata"]["resourceVersion"]
            if change != "BOOKMARK":
                self.intake.take(self.kind, change, document)


async def tell_all(server: ApiServer, intake: Intake, kind: Kind, namespace: str | None, labels: str) -> str:
    """Tells of everything there is, and of the end of the listing. Returns its resourceVersion. Raises KubeError."""
    uids: set[str] = set()
    more = ""
    while True:
        page = await server.page(kind, namespace, labels, PAGE, more)
        for document in page["items"]:
            uids.add(document["metadata"]["uid"])
            intake.take(kind, None, document)
        more = page["metadata"].get("continue", "")
        if not more:
            break
        await asyncio.sleep(0)  # others may go on between pages
    version = str(page["metadata"]["resourceVersion"])  # of the snapshot that all its pages show
    intake.listed(kind, namespace, frozenset(uids), version)
    return version
