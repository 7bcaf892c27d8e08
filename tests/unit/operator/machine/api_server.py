"""A model of the API server: objects with versions, foreground deletion and a log of changes; plays no controller."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from finetune_operator.builders.attempt import FOREGROUND
from finetune_operator.errors import AlreadyExistsError, ConflictError, NotFoundError
from finetune_operator.kube.protocol import FINE_TUNE_JOB, JOB, POD, Change, Document, Kind

from .clock import Clock

NAMESPACE = "team"
WATCHED = (FINE_TUNE_JOB, JOB, POD)
GRACE_SECONDS = 330
FIRST_VERSION = 100


class ApiServer:
    """Objects by kind and name, in one namespace. Gives and takes copies; `log` has every change in order."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.log: list[tuple[Kind, Change, Document]] = []
        self.watcher: Callable[[Kind, Document | None, Document], None] = lambda kind, before, after: None
        """Told of every change as it happens, before anyone else."""
        self._objects: dict[tuple[str, str], Document] = {}
        self.version = FIRST_VERSION
        self._uids = 0

    def get(self, kind: Kind, name: str) -> Document:
        return copy.deepcopy(self._stored(kind, name))

    def find(self, kind: Kind, name: str) -> Document | None:
        found = self._objects.get((kind.name, name))
        return copy.deepcopy(found) if found else None

    def all(self, kind: Kind) -> list[Document]:
        return [copy.deepcopy(document) for (name, _), document in self._objects.items() if name == kind.name]

    def as_of(self, kind: Kind, until: int) -> tuple[str, list[Document]]:
        """The resourceVersion after so many changes of the log, and the objects of a kind that were there."""
        there: dict[str, Document] = {}
        version = str(FIRST_VERSION)
        for of, change, document in self.log[:until]:
            version = document["metadata"]["resourceVersion"]
            if of != kind:
                continue
            if change == "DELETED":
                there.pop(document["metadata"]["name"], None)
            else:
                there[document["metadata"]["name"]] = document
        return version, [copy.deepcopy(document) for document in there.values()]

    def has_uid(self, uid: str) -> bool:
        return any(document["metadata"]["uid"] == uid for document in self._objects.values())

    def create(self, kind: Kind, document: Document) -> Document:
        name = document["metadata"]["name"]
        if (kind.name, name) in self._objects:
            raise AlreadyExistsError(f"{kind.name} {name} is there already", 409)
        self._uids += 1
        stored = copy.deepcopy(document)
        stored["metadata"] |= {
            "namespace": NAMESPACE,
            "uid": f"uid-{self._uids}",
            "creationTimestamp": self.clock.text(),
            "generation": 1,
        }
        return self._store(kind, None, stored)

    def change(self, kind: Kind, name: str, **parts: Any) -> Document:
        """Merges parts (as JSON merge patches) into an object. A changed spec raises the generation."""
        before = self._stored(kind, name)
        after = merged(before, parts)
        if after == before:
            return copy.deepcopy(before)
        if after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] += 1
        return self._store(kind, before, after)

    def patch_status(self, kind: Kind, name: str, status: Document, uid: str, version: str) -> Document:
        metadata = self._stored(kind, name)["metadata"]
        if metadata["uid"] != uid or metadata["resourceVersion"] != version:
            raise ConflictError(f"{kind.name} {name} has changed", 409)
        return self.change(kind, name, status=status)

    def delete(self, kind: Kind, name: str, *, foreground: bool | None = None, grace: int | None = None) -> None:
        """Begins to delete an object; what nothing holds is gone at once. None: as its finalizers say."""
        stored = self._objects.get((kind.name, name))
        if stored is None:
            return
        if foreground is None:
            foreground = FOREGROUND in stored["metadata"].get("finalizers", ())
        if kind == POD and grace != 0 and _is_alive(stored):
            self._mark(kind, stored, GRACE_SECONDS if grace is None else grace)
        elif foreground and any(self.owned(JOB, stored) + self.owned(POD, stored)):
            self._mark(kind, stored, 0)
        else:
            self.remove(kind, name)

    def remove(self, kind: Kind, name: str) -> None:
        """Takes an object away. Its last version is newer than all before, as etcd's revision is."""
        stored = copy.deepcopy(self._objects.pop((kind.name, name)))
        self.version += 1
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.log.append((kind, "DELETED", stored))

    def is_solid(self, uid: str) -> bool:
        """Whether an owner is there and is not on its way: it keeps what it owns."""
        owner = next((one for one in self._objects.values() if one["metadata"]["uid"] == uid), None)
        return owner is not None and "deletionTimestamp" not in owner["metadata"]

    def owned(self, kind: Kind, owner: Document) -> list[Document]:
        """The objects of a kind that this one owns."""
        uid = owner["metadata"]["uid"]
        return [document for document in self.all(kind) if uid in owners(document)]

    def _mark(self, kind: Kind, stored: Document, grace: int) -> None:
        if "deletionTimestamp" in stored["metadata"]:
            return
        by = (self.clock.now() + timedelta(seconds=grace)).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.change(
            kind,
            stored["metadata"]["name"],
            metadata={"deletionTimestamp": by, "deletionGracePeriodSeconds": grace},
        )

    def _stored(self, kind: Kind, name: str) -> Document:
        try:
            return self._objects[kind.name, name]
        except KeyError:
            raise NotFoundError(f"there is no {kind.name} {name}", 404) from None

    def _store(self, kind: Kind, before: Document | None, after: Document) -> Document:
        self.version += 1
        after["metadata"]["resourceVersion"] = str(self.version)
        self._objects[kind.name, after["metadata"]["name"]] = after
        self.watcher(kind, before, after)
        if kind in WATCHED:
            self.log.append((kind, "MODIFIED" if before else "ADDED", copy.deepcopy(after)))
        return copy.deepcopy(after)


def owners(document: Document) -> list[str]:
    """The uids of an object's owners."""
    return [owner["uid"] for owner in document["metadata"].get("ownerReferences") or ()]


def _is_alive(pod: Document) -> bool:
    return (pod.get("status") or {}).get("phase", "Pending") == "Running"


def merged(old: Any, new: Any) -> Any:
    """RFC 7386: objects merge, null removes, all else replaces."""
    if not isinstance(new, dict):
        return copy.deepcopy(new)
    result = copy.deepcopy(old) if isinstance(old, dict) else {}
    for name, value in new.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
