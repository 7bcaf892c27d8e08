"""One operator process's connection to the model: its requests with their faults, and its watch with its lags."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from finetune_operator.errors import ConflictError, NoProgressError, NotFoundError, UnavailableError
from finetune_operator.kube.protocol import FINE_TUNE_JOB, JOB, NODE, POD, WORKLOAD, Document, Kind, Listener
from finetune_operator.kube.watch import Intake

from .api_server import WATCHED, ApiServer
from .cluster import Cluster

FAULTS = ("crash before", "crash after", "conflict", "429", "500", "timeout before", "timeout after")
T = TypeVar("T")


class Crashed(BaseException):
    """The operator's process is dead: nothing of it may go on."""


class Connection:
    """Implements Kube over the model. Dead once it has crashed."""

    def __init__(self, api: ApiServer, cluster: Cluster) -> None:
        self.dead = False
        self.writes = 0
        self.reads = 0
        self._api, self._cluster = api, cluster
        self._faults: dict[int, str] = {}
        self._blind: set[int] = set()
        self._between: list[Callable[[], None]] = []
        self._told = dict.fromkeys((kind.name for kind in WATCHED), len(api.log))

    def strike(self, fault: str, writes_from_now: int) -> None:
        """Lets a write to come go wrong."""
        self._faults[self.writes + writes_from_now] = fault

    def blind(self, reads_from_now: int) -> None:
        """Lets a read to come go wrong."""
        self._blind.add(self.reads + reads_from_now)

    def between(self, change: Callable[[], None]) -> None:
        """Something that happens right before the operator's next request."""
        self._between.append(change)

    def calm(self) -> None:
        """Takes back all that was to go wrong."""
        self._faults.clear()
        self._blind.clear()
        self._between.clear()

    def behind(self) -> bool:
        """Whether the watch has something to tell."""
        return any(at < len(self._api.log) for at in self._told.values())

    def tell(self, listener: Listener, kinds: tuple[Kind, ...] = WATCHED, most: int = 1 << 30) -> None:
        """Tells the listener of changes of these kinds, at most so many of each kind."""
        for kind in kinds:
            for _ in range(most):
                change = self._next(kind)
                if change is None:
                    break
                listener(*change)

    def drop(self, kind: Kind) -> None:
        """Loses the next change of a kind."""
        self._next(kind)

    def repeat(self, listener: Listener, back: int) -> None:
        """Tells once more of a change that was told before."""
        kind, change, document = self._api.log[-1 - back % len(self._api.log)]
        listener(kind, change, copy.deepcopy(document))

    def list_again(self, intake: Intake, behind: int = 0) -> None:
        """What watches do that begin anew: they list, and go on from there; `behind` changes ago, as a cache may be.

        The first lists of a process are never behind: without a resourceVersion an API server answers with the newest,
        and a process that knows nothing yet could not tell.
        """
        until = max(0, len(self._api.log) - behind)
        for kind in (JOB, POD, FINE_TUNE_JOB):
            version, listed = self._api.as_of(kind, until)
            for document in listed:
                intake.take(kind, None, document)
            intake.listed(kind, None, frozenset(d["metadata"]["uid"] for d in listed), version)
            self._told[kind.name] = until

    def _next(self, kind: Kind) -> tuple[Kind, Any, Document] | None:
        at = self._told[kind.name]
        while at < len(self._api.log) and self._api.log[at][0] != kind:
            at += 1
        self._told[kind.name] = min(at + 1, len(self._api.log))
        if at >= len(self._api.log):
            return None
        kind, change, document = self._api.log[at]
        return kind, change, copy.deepcopy(document)

    def _request(self) -> None:
        while self._between:
            self._between.pop(0)()
        if self.dead:
            raise Crashed

    def _read(self) -> None:
        self._request()
        self.reads += 1
        if self.reads in self._blind:
            raise UnavailableError("no answer in time")

    def _write(self, write: Callable[[], T], *, is_create: bool = False) -> T:
        self._request()
        self.writes += 1
        fault = self._faults.pop(self.writes, None)
        if fault == "crash before":
            self._die()
        if fault == "conflict" and not is_create:
            raise ConflictError("the object has changed", 409)
        if fault in ("429", "500", "timeout before"):
            raise UnavailableError(f"answered {fault}", None, 1.0 if fault == "429" else None)
        result = write()
        if fault == "crash after":
            self._die()
        if fault == "timeout after":
            raise UnavailableError("no answer in time")
        return result

    def _die(self) -> None:
        self.dead = True
        raise Crashed

    # Kube

    async def get(self, kind: Kind, namespace: str, name: str) -> Document:
        self._read()
        return self._cluster.node(name) if kind == NODE else self._api.get(kind, name)

    async def exists(self, kind: Kind, namespace: str, name: str) -> bool:
        self._request()
        return True  # claims and ConfigMaps: other tests take them away

    async def list(self, kind: Kind, namespace: str, labels: str) -> list[Document]:
        self._read()
        if kind == WORKLOAD:
            return []  # the queue of this model says nothing
        wanted = dict(pair.split("=") for pair in labels.split(","))
        return [d for d in self._api.all(kind) if wanted.items() <= d["metadata"].get("labels", {}).items()]

    async def warnings(self, kind: Kind, namespace: str) -> Sequence[Document]:
        self._request()
        return []  # pods of this model can always be made

    async def create(self, kind: Kind, document: Document) -> Document:
        return self._write(lambda: self._api.create(kind, document), is_create=True)

    async def replace(self, kind: Kind, document: Document) -> Document:
        raise NotFoundError("the reconciler replaces nothing")

    async def patch_status(
        self, kind: Kind, namespace: str, name: str, status: Document, *, uid: str, version: str, manager: str
    ) -> Document:
        return self._write(lambda: self._api.patch_status(kind, name, status, uid, version))

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None
    ) -> None:
        def delete() -> None:
            found = self._api.find(kind, name)
            if found is not None and found["metadata"]["uid"] == uid:
                self._api.delete(kind, name, foreground=kind != POD, grace=grace_seconds)

        self._write(delete)

    async def progress(self, namespace: str, pod: str, address: str | None) -> bytes:
        self._request()
        body = self._cluster.progress(pod)
        if body is None:
            raise NoProgressError("no answer")
        return body

    async def close(self) -> None:
        """Nothing is held."""
