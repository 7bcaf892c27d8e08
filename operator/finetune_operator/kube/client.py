"""The Kube of a real cluster, on aiohttp alone: paths, bodies and errors of the API server; it keeps nothing.

Chosen by measurement (tests/benchmarks/kube_clients.py): the larger clients spend several times the CPU per call.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import aiohttp
import orjson

from finetune_api.trainer_contract import MAXIMUM_PROGRESS_BYTES, PROGRESS_PORT

from .. import metrics
from ..errors import (
    AlreadyExistsError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    KubeError,
    NoProgressError,
    NotFoundError,
    UnavailableError,
)
from .credentials import Credentials
from .protocol import EVENT, Change, Document, Kind

_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
_PROGRESS_TIMEOUT = aiohttp.ClientTimeout(total=2)
_MERGE_PATCH = "application/merge-patch+json"
_SILENT_SECONDS = 120
"""The API server sends a bookmark each minute: a watch that is silent for longer is dead."""
MOST_WARNINGS, _WARNINGS_A_PAGE = 5000, 500
"""Beyond these a complaint may go unsaid: the rest would be asked for every few seconds."""
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class ApiServer:
    """Talks to an API server. Make it in a running event loop; close it at the end."""

    def __init__(self, credentials: Credentials, through_proxy: bool) -> None:
        self._credentials = credentials
        self._through_proxy = through_proxy
        connector = aiohttp.TCPConnector(ssl=credentials.ssl_context(), limit=64)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=_TIMEOUT, headers={"User-Agent": "finetune-operator"}
        )
        # A session of its own: nothing that is the API server's may ever reach a tenant's pod.
        self._pods = aiohttp.ClientSession(
            timeout=_PROGRESS_TIMEOUT, connector=aiohttp.TCPConnector(limit=64, force_close=True)
        )

    async def get(self, kind: Kind, namespace: str, name: str) -> Document:
        return await self._request("GET", kind, _path(kind, namespace, name))

    async def exists(self, kind: Kind, namespace: str, name: str) -> bool:
        try:
            await self._request("GET", kind, _path(kind, namespace, name), accept=_METADATA_ONLY)
        except NotFoundError:
            return False
        return True

    async def list(self, kind: Kind, namespace: str, labels: str) -> list[Document]:
        answer = await self._request("GET", kind, _path(kind, namespace), params={"labelSelector": labels})
        items: list[Document] = answer["items"]
        return items

    async def warnings(self, kind: Kind, namespace: str) -> Sequence[Document]:
        fields = {"fieldSelector": f"type=Warning,regarding.kind={kind.name}", "limit": str(_WARNINGS_A_PAGE)}
        items: list[Document] = []
        more = ""
        while len(items) < MOST_WARNINGS:
            params = fields | ({"continue": more} if more else {})
            answer = await self._request("GET", EVENT, _path(EVENT, namespace), params=params)
            items += answer["items"]
            more = answer["metadata"].get("continue", "")
            if not more:
                break
        return items

    async def page(self, kind: Kind, namespace: str | None, labels: str, limit: int, more: str = "") -> Document:
        """A part of a list, of a namespace or (None) of all: the next is asked for with its metadata.continue."""
        params = {"labelSelector": labels, "limit": str(limit)} | ({"continue": more} if more else {})
        return await self._request("GET", kind, _path(kind, namespace), params=params)

    async def changes(
        self, kind: Kind, namespace: str | None, labels: str, version: str, seconds: int
    ) -> AsyncIterator[tuple[Change | Literal["BOOKMARK"], Document]]:
        """What changes after a resourceVersion, for so many seconds. Raises ExpiredError and other KubeErrors."""
        path = _path(kind, namespace)
        params = {
            "watch": "1",
            "labelSelector": labels,
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
            "allowWatchBookmarks": "true",
        }
        timeout = aiohttp.ClientTimeout(total=None, connect=10, sock_read=_SILENT_SECONDS)
        try:
            async with self._session.get(
                self._credentials.server + path, params=params, headers=await self._headers(), timeout=timeout
            ) as answer:
                if answer.status != 200:
                    raise await self._refusal("GET", kind, path, answer)
                async for line in _lines(answer):
                    event: Document = orjson.loads(line)
                    if event["type"] == "ERROR":
                        said = event["object"]
                        raise _error("GET", kind, path, int(said.get("code") or 500), json.dumps(said).encode(), None)
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UnavailableError(f"GET {path}: {error!r}") from None

    async def create(self, kind: Kind, document: Document) -> Document:
        return await self._request("POST", kind, _path(kind, document["metadata"]["namespace"]), body=document)

    async def replace(self, kind: Kind, document: Document) -> Document:
        metadata = document["metadata"]
        return await self._request("PUT", kind, _path(kind, metadata["namespace"], metadata["name"]), body=document)

    async def patch_status(
        self, kind: Kind, namespace: str, name: str, status: Document, *, uid: str, version: str, manager: str
    ) -> Document:
        body = {"metadata": {"uid": uid, "resourceVersion": version}, "status": status}
        path = f"{_path(kind, namespace, name)}/status"
        return await self._request("PATCH", kind, path, params={"fieldManager": manager}, body=body)

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None
    ) -> None:
        options: Document = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": uid},
        }
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            await self._request("DELETE", kind, _path(kind, namespace, name), body=options)
        except (NotFoundError, ConflictError):
            return  # gone, or another object by now

    async def progress(self, namespace: str, pod: str, address: str | None) -> bytes:
        if self._through_proxy:
            url = f"{self._credentials.server}/api/v1/namespaces/{namespace}/pods/{pod}:{PROGRESS_PORT}/proxy/progress"
            session, headers = self._session, await self._headers()
        elif address is None:
            raise NoProgressError(f"pod {pod} has no address yet")
        else:
            host = f"[{address}]" if ":" in address else address
            url, session, headers = f"http://{host}:{PROGRESS_PORT}/progress", self._pods, {}
        try:
            async with session.get(url, headers=headers, allow_redirects=False, timeout=_PROGRESS_TIMEOUT) as answer:
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > MAXIMUM_PROGRESS_BYTES:
                        raise NoProgressError(f"pod {pod}: the report is larger than {MAXIMUM_PROGRESS_BYTES} bytes")
                if answer.status != 200:
                    raise NoProgressError(f"pod {pod}: {answer.status} {bytes(body[:200])!r}")
                return bytes(body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoProgressError(f"pod {pod}: {error!r}") from None

    async def close(self) -> None:
        await self._session.close()
        await self._pods.close()

    async def _headers(self) -> dict[str, str]:
        token = await self._credentials.token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    async def _request(
        self,
        verb: Literal["GET", "POST", "PUT", "PATCH", "DELETE"],
        kind: Kind,
        path: str,
        params: dict[str, str] | None = None,
        body: Document | None = None,
        accept: str = "application/json",
    ) -> Document:
        headers = {"Accept": accept, **await self._headers()}
        data = None
        if body is not None:
            data = json.dumps(body, separators=(",", ":")).encode()
            headers["Content-Type"] = _MERGE_PATCH if verb == "PATCH" else "application/json"
        try:
            async with self._session.request(
                verb, self._credentials.server + path, params=params, data=data, headers=headers
            ) as answer:
                content = await answer.read()
                metrics.API_REQUESTS.labels(verb, kind.plural, str(answer.status)).inc()
                if answer.status < 300:
                    document: Document = orjson.loads(content)
                    return document
                raise await self._refusal(verb, kind, path, answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            metrics.API_REQUESTS.labels(verb, kind.plural, "none").inc()
            raise UnavailableError(f"{verb} {path}: {error!r}") from None

    async def _refusal(self, verb: str, kind: Kind, path: str, answer: aiohttp.ClientResponse) -> KubeError:
        """The error of an answer that is no success; credentials that are refused are read anew."""
        if answer.status == 401:
            self._credentials.refused()
        return _error(verb, kind, path, answer.status, await answer.read(), answer.headers.get("Retry-After"))


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Whole lines of any length: the reader's own limit is below that of an object."""
    parts: list[bytes] = []
    async for chunk in answer.content.iter_any():
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*parts, line]) if parts else line
            parts = []
        if rest:
            parts.append(rest)


def _path(kind: Kind, namespace: str | None, name: str | None = None) -> str:
    root = "/api/v1" if kind.api_version == "v1" else f"/apis/{kind.api_version}"
    inside = f"/namespaces/{namespace}" if kind.namespaced and namespace is not None else ""
    return f"{root}{inside}/{kind.plural}" + (f"/{name}" if name else "")


def _error(verb: str, kind: Kind, path: str, status: int, content: bytes, retry_after: str | None) -> KubeError:
    """The error of an answer that is no success, with what the server said."""
    try:
        answer: dict[str, Any] = json.loads(content)
    except ValueError:
        answer = {}
    reason = answer.get("reason")
    message = f"{verb} {kind.name}: {answer.get('message') or content[:200]!r} ({status} {path})"
    kinds: dict[int, type[KubeError]] = {
        400: InvalidError,
        401: ForbiddenError,
        403: ForbiddenError,
        404: NotFoundError,
        410: ExpiredError,
        409: AlreadyExistsError if reason == "AlreadyExists" else ConflictError,
        422: InvalidError,
    }
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    made = kinds.get(status, UnavailableError if status == 429 or status >= 500 else KubeError)
    return made(message, status, wait)
