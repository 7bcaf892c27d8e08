"""The objects of a local run, with versions and listeners as an API server has them; starts and stops nothing."""

from __future__ import annotations

import copy
import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetune_operator.errors import AlreadyExistsError, ConflictError, NotFoundError
from finetune_operator.kube.protocol import FINE_TUNE_JOB, Change, Document, Kind, Listener


def now() -> str:
    """RFC 3339 in UTC, whole seconds, as Kubernetes writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """Objects by kind, namespace and name. The FineTuneJob is also written to a file, so that a later run goes on."""

    def __init__(self, state: Path) -> None:
        self._objects: dict[tuple[str, str, str], Document] = {}
        self._version = 0
        self._listeners: list[Listener] = []
        self._state = state

    def listen(self, listener: Listener) -> None:
        """Every later change is told, with a copy of the whole object."""
        self._listeners.append(listener)

    def get(self, kind: Kind, namespace: str, name: str) -> Document:
        """A copy. Raises NotFoundError."""
        return copy.deepcopy(self._stored(kind, namespace, name))

    def all(self, kind: Kind, namespace: str) -> Iterator[Document]:
        """Copies of the objects of a kind."""
        for (kind_name, at, _), document in list(self._objects.items()):
            if kind_name == kind.name and at == namespace:
                yield copy.deepcopy(document)

    def add(self, kind: Kind, document: Document) -> Document:
        """Stores a new object as the API server would. Raises AlreadyExistsError."""
        stored = copy.deepcopy(document)
        metadata = stored["metadata"]
        key = (kind.name, metadata["namespace"], metadata["name"])
        if key in self._objects:
            raise AlreadyExistsError(f"{kind.name} {metadata['name']} is there already", 409)
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", now())
        metadata.setdefault("generation", 1)
        stored.setdefault("apiVersion", kind.api_version)
        stored.setdefault("kind", kind.name)
        self._objects[key] = stored
        return self._changed(kind, stored, "ADDED")

    def change(self, kind: Kind, namespace: str, name: str, **parts: Any) -> Document:
        """Merges parts (`status={...}`, as a JSON merge patch) into an object. A changed spec raises the generation."""
        stored = self._stored(kind, namespace, name)
        before = copy.deepcopy(stored)
        for part, value in parts.items():
            stored[part] = _merged(stored.get(part), value)
        if stored == before:
            return before
        if stored.get("spec") != before.get("spec"):
            stored["metadata"]["generation"] += 1
        return self._changed(kind, stored, "MODIFIED")

    def replace(self, kind: Kind, document: Document) -> Document:
        """Puts a whole object in place of the one of the same version. Raises NotFoundError, ConflictError."""
        metadata = document["metadata"]
        stored = self._stored(kind, metadata["namespace"], metadata["name"])
        if metadata.get("resourceVersion") != stored["metadata"]["resourceVersion"]:
            raise ConflictError(f"{kind.name} {metadata['name']} has changed", 409)
        replaced = copy.deepcopy(document)
        self._objects[(kind.name, metadata["namespace"], metadata["name"])] = replaced
        return self._changed(kind, replaced, "MODIFIED")

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Takes an object away. Nothing when it is gone."""
        stored = self._objects.pop((kind.name, namespace, name), None)
        if stored is not None:
            self._tell(kind, "DELETED", stored)

    def _stored(self, kind: Kind, namespace: str, name: str) -> Document:
        try:
            return self._objects[(kind.name, namespace, name)]
        except KeyError:
            raise NotFoundError(f"there is no {kind.name} {name}", 404) from None

    def _changed(self, kind: Kind, stored: Document, change: Change) -> Document:
        self._version += 1
        stored["metadata"]["resourceVersion"] = str(self._version)
        if kind == FINE_TUNE_JOB:
            save(self._state, stored)
        self._tell(kind, change, stored)
        return copy.deepcopy(stored)

    def _tell(self, kind: Kind, change: Change, stored: Document) -> None:
        for listener in self._listeners:
            listener(kind, change, copy.deepcopy(stored))


def save(path: Path, document: Document) -> None:
    """Writes the document so that a reader finds the old or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    os.replace(draft, path)


def load(path: Path) -> Document | None:
    """What save wrote; None where there is nothing, or nothing whole."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _merged(old: Any, new: Any) -> Any:
    """RFC 7386: objects merge, null removes, all else replaces."""
    if not isinstance(new, dict):
        return copy.deepcopy(new)
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in new.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged
