"""The Kube protocol on this machine: the store behind the operator's reads and writes, processes behind its Jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp

from finetune_api.trainer_contract import MAXIMUM_PROGRESS_BYTES
from finetune_operator.errors import ConflictError, NoProgressError, NotFoundError
from finetune_operator.kube.protocol import CLAIM, CONFIG_MAP, EVENT, FINE_TUNE_JOB, JOB, POD, Document, Kind, Listener

from .devices import gpus
from .jobs import LocalJobs
from .pods import COMMAND
from .store import Store, load
from .volumes import Directories

_PROGRESS_TIMEOUT = aiohttp.ClientTimeout(total=2)


class LocalKube:
    """One person's cluster of one job. Belongs to one event loop, which must be the main thread's."""

    def __init__(
        self,
        directories: Directories,
        state: Path,
        *,
        on_event: Callable[[Document], None] = lambda _: None,
        keep_open: Sequence[int] = (),
        command: Sequence[str] = COMMAND,
    ) -> None:
        """`state` is the file that keeps the FineTuneJob; `keep_open` are descriptors that trainers hold (a lock)."""
        self.store = Store(state)
        self._directories = directories
        self._on_event = on_event
        self._jobs = LocalJobs(self.store, directories, gpus(), command, keep_open)
        self._session: aiohttp.ClientSession | None = None

    def listen(self, listener: Listener) -> None:
        """Tells every later change, as a watch would."""
        self.store.listen(listener)

    async def get(self, kind: Kind, namespace: str, name: str) -> Document:
        outside = self._given(kind, namespace, name)
        if outside is not None:
            return outside
        try:
            return self.store.get(kind, namespace, name)
        except NotFoundError:
            earlier = load(self._directories.state(name) / "job.json") if kind == FINE_TUNE_JOB else None
            if earlier is None:
                raise
            return earlier

    async def exists(self, kind: Kind, namespace: str, name: str) -> bool:
        try:
            await self.get(kind, namespace, name)
        except NotFoundError:
            return False
        return True

    async def list(self, kind: Kind, namespace: str, labels: str) -> list[Document]:
        wanted = dict(pair.split("=", 1) for pair in labels.split(",") if pair)
        return [
            document
            for document in self.store.all(kind, namespace)
            if wanted.items() <= (document["metadata"].get("labels") or {}).items()
        ]

    async def warnings(self, kind: Kind, namespace: str) -> Sequence[Document]:
        return []  # a process that cannot start says so itself

    async def create(self, kind: Kind, document: Document) -> Document:
        if kind == EVENT:
            self._on_event(document)
            return document
        stored = self.store.add(kind, document)
        if kind == CLAIM:
            self._directories.claim(stored["metadata"]["name"]).mkdir(parents=True, exist_ok=True)
        if kind == JOB:
            self._jobs.start(stored)
        return stored

    async def replace(self, kind: Kind, document: Document) -> Document:
        return self.store.replace(kind, document)

    async def patch_status(
        self, kind: Kind, namespace: str, name: str, status: Document, *, uid: str, version: str, manager: str
    ) -> Document:
        metadata = self.store.get(kind, namespace, name)["metadata"]
        if (metadata["uid"], metadata["resourceVersion"]) != (uid, version):
            raise ConflictError(f"{kind.name} {name} has changed", 409)
        return self.store.change(kind, namespace, name, status=status)

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None
    ) -> None:
        try:
            document = self.store.get(kind, namespace, name)
        except NotFoundError:
            return
        if document["metadata"]["uid"] != uid:
            return
        if kind == JOB:
            self._jobs.delete(document)
        elif kind == POD:
            self._jobs.delete_pod(document, grace_seconds)
        else:
            self.store.remove(kind, namespace, name)

    async def progress(self, namespace: str, pod: str, address: str | None) -> bytes:
        running = self._jobs.pod_named(pod)
        if running is None or running.over.is_set() or not running.progress_port:
            raise NoProgressError(f"{pod} serves no progress")
        self._session = self._session or aiohttp.ClientSession(timeout=_PROGRESS_TIMEOUT)
        url = f"http://127.0.0.1:{running.progress_port}/progress"
        try:
            async with self._session.get(url, allow_redirects=False) as answer:
                body = await answer.content.read(MAXIMUM_PROGRESS_BYTES + 1)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoProgressError(f"{url}: {error or 'no answer'}") from error
        if answer.status != 200 or len(body) > MAXIMUM_PROGRESS_BYTES:
            raise NoProgressError(f"{url}: status {answer.status}, {len(body)} bytes")
        return body

    def kill(self) -> None:
        """Kills all trainers at once; no checkpoint is written."""
        self._jobs.kill()

    async def close(self) -> None:
        await self._jobs.close()
        if self._session is not None:
            await self._session.close()

    def _given(self, kind: Kind, namespace: str, name: str) -> Document | None:
        """Claims and ConfigMaps for which a person gave a directory. They carry no labels of ours."""
        given = {CLAIM: self._directories.claims, CONFIG_MAP: self._directories.config_maps}.get(kind, {})
        if name not in given:
            return None
        metadata = {"name": name, "namespace": namespace, "uid": str(given[name]), "resourceVersion": "1"}
        document: Document = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
        if kind == CLAIM:
            document["status"] = {"phase": "Bound"}
        return document
