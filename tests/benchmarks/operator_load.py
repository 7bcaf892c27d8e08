"""Creates jobs through the API server and sees them end, as fast or as steadily as asked; measures only times."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from tests.cluster.control_plane import ControlPlane

Document = dict[str, Any]
JOBS = "/apis/batch/v1/namespaces/{}/jobs"
FINE_TUNE_JOBS = "/apis/finetune.dev/v1alpha1/namespaces/{}/finetunejobs"
_CREATORS = 32
"""Connections that create at the same time: enough to keep two cores busy, too few to be the queue themselves."""


class LoadError(Exception):
    """The load could not be brought to its end; the message says what was missing."""


def has_condition(document: Document, kind: str) -> bool:
    """Whether an object has this condition as True."""
    conditions = document.get("status", {}).get("conditions", [])
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)


@dataclass
class Times:
    """When each job was asked for and when its end was seen, in seconds of the monotonic clock."""

    created: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """From the first create to the last end."""
        return max(self.ended.values()) - min(self.created.values())

    @property
    def latencies(self) -> list[float]:
        """Seconds of each job."""
        return [self.ended[name] - asked for name, asked in self.created.items()]


class Load:
    """A client of one control plane, as administrator."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @asynccontextmanager
    async def on(cls, plane: ControlPlane) -> AsyncIterator[Self]:
        """Connect for the length of the block."""
        context = ssl.create_default_context(cafile=str(plane.ca_file))
        headers = {"Authorization": f"Bearer {plane.token}", "Accept": "application/json"}
        connector = aiohttp.TCPConnector(ssl=context, limit=_CREATORS + 8)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(plane.url, headers=headers, connector=connector, timeout=timeout) as session:
            yield cls(session)

    async def create(self, path: str, document: Document) -> Document:
        """Create one object. Raises LoadError with the server's words."""
        async with self._session.post(path, json=document) as answer:
            return await _read(answer, f"create {document['metadata']['name']}")

    async def get(self, path: str) -> Document:
        """Read an object or a list."""
        async with self._session.get(path) as answer:
            return await _read(answer, f"get {path}")

    async def patch(self, path: str, change: Document) -> Document:
        """Merge a change into an object."""
        headers = {"Content-Type": "application/merge-patch+json"}
        async with self._session.patch(path, data=json.dumps(change), headers=headers) as answer:
            return await _read(answer, f"patch {path}")

    async def delete(self, path: str) -> Document:
        """Begin to delete an object."""
        async with self._session.delete(path) as answer:
            return await _read(answer, f"delete {path}")

    async def delete_all(self, path: str, seconds: float = 120) -> None:
        """Delete what is in a collection, with what it owns, and wait until it is gone."""
        async with self._session.delete(path, params={"propagationPolicy": "Background"}) as answer:
            await _read(answer, f"delete {path}")
        deadline = time.monotonic() + seconds
        while (await self.get(f"{path}?limit=1"))["items"]:
            if time.monotonic() > deadline:
                raise LoadError(f"{path} was not empty {seconds:.0f} s after its deletion")
            await asyncio.sleep(0.2)

    async def run(
        self,
        path: str,
        documents: Sequence[Document],
        end: str,
        *,
        per_second: float | None = None,
        seconds: float = 300,
    ) -> Times:
        """Create the objects and wait until each has a condition.

        Args:
            path: their collection.
            documents: with different names.
            end: the condition, for example Complete.
            per_second: one after the other at this rate; None means all at once.
            seconds: after which it is given up.

        Raises:
            LoadError: an object was refused, or did not end in time.
        """
        times = Times()
        names = {document["metadata"]["name"] for document in documents}
        watching = asyncio.create_task(self._watch(path, names, end, times))
        creating = asyncio.create_task(self._create(path, documents, per_second, times))
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(creating, watching)
        except TimeoutError:
            missing = sorted(names - set(times.ended))
            raise LoadError(
                f"{len(missing)} of {len(names)} had not ended after {seconds:.0f} s: {missing[:3]}"
            ) from None
        finally:
            for task in (watching, creating):
                task.cancel()
        return times

    async def create_all(self, path: str, documents: Sequence[Document], times: Times) -> None:
        """Create the objects as fast as they are taken."""
        await self._create(path, documents, None, times)

    async def _create(self, path: str, documents: Sequence[Document], rate: float | None, times: Times) -> None:
        async def one(document: Document) -> None:
            async with free:
                times.created[document["metadata"]["name"]] = time.monotonic()
                await self.create(path, document)

        free = asyncio.Semaphore(_CREATORS)
        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, document in enumerate(documents):
                if rate:
                    await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
                group.create_task(one(document))

    async def _watch(self, path: str, names: set[str], end: str, times: Times) -> None:
        """Follow the collection until every name has ended."""

        def take(document: Document) -> None:
            name = document["metadata"]["name"]
            if name in names and name not in times.ended and has_condition(document, end):
                times.ended[name] = time.monotonic()

        await self.follow(path, f'"type":"{end}"', take, until=lambda: len(times.ended) == len(names))

    async def follow(self, path: str, marker: str, take: Callable[[Document], None], until: Callable[[], bool]) -> None:
        """Tell every object as it is and as it changes, over breaks of the watch (a slow client is cut off).

        Args:
            path: the collection.
            marker: only changes with this text in them are told: parsing all would take a good part of the machine.
            take: told of each.
            until: asked after each; ends the following.
        """
        while not until():
            listed = await self.get(path)
            for document in listed["items"]:
                take(document)
            version = listed["metadata"]["resourceVersion"]
            query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "3600"}
            async with self._session.get(path, params=query) as answer:
                async for line in _lines(answer):
                    if marker.encode() in line:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            break  # listed anew
                        take(event["object"])
                        if until():
                            return


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Whole lines of any length: the reader's own limit is below that of an object."""
    rest = b""
    async for chunk in answer.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line


async def _read(answer: aiohttp.ClientResponse, what: str) -> Document:
    document: Document = json.loads(await answer.read())
    if answer.status >= 400:
        raise LoadError(f"{what}: {document.get('message', document)}")
    return document
