"""The newest that is known of FineTuneJobs, their Jobs and pods; presence can be trusted, absence cannot.

Events come late, twice, or not at all, so an object is only ever replaced by a newer one, and what the operator wrote
itself is put in at once. Jobs and pods are kept as the few fields that matter (about 1 KiB each).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

from . import names
from .kube.protocol import FINE_TUNE_JOB, JOB, POD, Change, Document, Kind
from .observation import Child, Pod

Key = tuple[str, str]
"""Namespace and name of a FineTuneJob."""
_REMEMBERED_DELETIONS = 4096
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Concern(NamedTuple):
    """Whom a change concerns."""

    key: Key
    passing: bool = False
    """Another change is to follow, and this one asks for nothing by itself."""


class Cache:
    """Objects by the job they belong to. Used from one event loop."""

    def __init__(self) -> None:
        self.jobs: dict[Key, Document] = {}
        self._children: dict[Key, Child] = {}
        self._pods: dict[Key, dict[str, Pod]] = {}
        """By the FineTuneJob's name, those of all attempts, and of earlier jobs of that name."""
        self._deleted: dict[str, None] = {}
        self._made: dict[str, float] = {}
        """When a first Job was made, by the uid of a FineTuneJob whose status does not say so yet."""

    def take(self, kind: Kind, change: Change | None, document: Document) -> Concern | None:
        """Takes a change in. Returns None where it changes nothing."""
        metadata = document["metadata"]
        namespace = metadata["namespace"]
        gone = change == "DELETED"
        if gone:
            self._remember_deletion(metadata["uid"])
        elif metadata["uid"] in self._deleted:
            return None
        if kind == FINE_TUNE_JOB:
            taken = self._take_job((namespace, metadata["name"]), document, gone)
            return Concern(taken) if taken is not None else None
        job = (metadata.get("labels") or {}).get(names.JOB_LABEL)
        if job is None:
            return None
        if kind == JOB:
            child = Child.of(document)
            passing = child.passes(self.child(namespace, child.name))
            changed = self._take_child((namespace, child.name), child, gone)
        elif kind == POD:
            pod = Pod.of(document)
            passing = pod.passes(self._pods.get((namespace, names.job_of(pod.child)), {}).get(pod.uid))
            changed = self._take_pod(namespace, pod, gone)
        else:
            return None
        return Concern((namespace, job), passing and not gone) if changed else None

    def listed(self, kind: Kind, namespace: str | None, uids: frozenset[str], version: str) -> list[Key]:
        """Told what a listing had: the others went, unless they are newer. Returns whom it concerns."""
        concerned: list[Key] = []
        if kind == JOB:
            for (where, name), child in list(self._children.items()):
                if namespace in (None, where) and child.uid not in uids and not _newer(child.version, version):
                    del self._children[where, name]
                    concerned.append((where, names.job_of(name)))
        elif kind == POD:
            here = [key for key in self._pods if namespace in (None, key[0])]
            concerned += [key for key in here if self.only_pods(key, uids, version)]
        else:
            known = [key for key in self.jobs if namespace in (None, key[0])]
            for key in known:
                job = self.jobs[key]
                if job["metadata"]["uid"] not in uids and not _newer(_version(job), version):
                    self.forget_job(key)
                    concerned.append(key)
        return concerned

    def child(self, namespace: str, name: str) -> Child | None:
        """The Job of an attempt, if one is known."""
        return self._children.get((namespace, name))

    def pods(self, namespace: str, child: Child | None, name: str) -> tuple[Pod, ...]:
        """The pods of an attempt's Job (where it is there: of this very Job), those gone included."""
        known = self._pods.get((namespace, names.job_of(name)), {}).values()
        return tuple(pod for pod in known if pod.child == name and (child is None or pod.child_uid == child.uid))

    def pods_beside(self, key: Key, name: str) -> tuple[Pod, ...]:
        """The pods that have not ended of any other Job than this one: of an earlier FineTuneJob of that name."""
        return tuple(pod for pod in self._pods.get(key, {}).values() if pod.child != name and not pod.ended)

    def made(self, job_uid: str, document: Document) -> None:
        """Takes in a Job that the operator just made for a FineTuneJob, and remembers when it made the first."""
        self.take(JOB, None, document)
        self._made.setdefault(job_uid, time.monotonic())

    def seconds_since_made(self, job_uid: str) -> float | None:
        """Seconds since this operator made a first Job for a FineTuneJob of which nothing was said yet."""
        made = self._made.get(job_uid)
        return time.monotonic() - made if made is not None else None

    def unsaid(self) -> int:
        """How many FineTuneJobs have a first Job of which nothing was said yet."""
        return len(self._made)

    def forget_child(self, namespace: str, name: str) -> None:
        """Drops a Job that the API server does not know."""
        self._children.pop((namespace, name), None)

    def only_pods(self, key: Key, uids: frozenset[str], version: str | None = None, of: str | None = None) -> bool:
        """Told which pods of a job (`of`: of this Job of it) the API server has: the others are gone, unless they are
        newer than that version. Returns whether any was."""
        missing = [
            pod
            for pod in self._pods.get(key, {}).values()
            if not (pod.gone or pod.uid in uids or of not in (None, pod.child))
            and (version is None or not _newer(pod.version, version))
        ]
        for pod in missing:
            self._take_pod(key[0], pod, True)
        return bool(missing)

    def pod_gone(self, namespace: str, pod: Pod) -> None:
        """Told that the API server does not know this pod."""
        self._take_pod(namespace, pod, True)

    def forget_ends(self, key: Key) -> None:
        """Drops a job's pods that are gone: the attempt is over and written down, or the job itself is gone."""
        left = {uid: pod for uid, pod in self._pods.pop(key, {}).items() if not pod.gone}
        if left:
            self._pods[key] = left

    def forget_job(self, key: Key) -> None:
        """Drops a FineTuneJob that the API server does not know, and the pods that are gone of its attempts."""
        known = self.jobs.pop(key, None)
        if known is not None:
            self._made.pop(known["metadata"]["uid"], None)
        self.forget_ends(key)

    def _take_job(self, key: Key, document: Document, gone: bool) -> Key | None:
        known = self.jobs.get(key)
        if gone:
            if known is not None and known["metadata"]["uid"] == document["metadata"]["uid"]:
                self.forget_job(key)
            return key
        if known is not None and not _newer(_version(document), _version(known)):
            return None
        self.jobs[key] = _slim(document)
        if "startTime" in self.jobs[key]["status"]:
            self._made.pop(document["metadata"]["uid"], None)
        return key

    def _take_child(self, key: Key, child: Child, gone: bool) -> bool:
        known = self._children.get(key)
        if gone:
            if known is not None and known.uid == child.uid:
                del self._children[key]
            return True
        if known is not None and not _newer(child.version, known.version):
            return False
        self._children[key] = child
        return known is None or replace(known, version=child.version) != child

    def _take_pod(self, namespace: str, pod: Pod, gone: bool) -> bool:
        key = (namespace, names.job_of(pod.child))
        pods = self._pods.setdefault(key, {})
        known = pods.get(pod.uid)
        if known is not None and (known.gone or (not gone and not _newer(pod.version, known.version))):
            return False
        pods[pod.uid] = pod.as_gone() if gone else pod
        if gone and self._is_written_down(key, pod):
            del pods[pod.uid]  # nobody will ask for its record any more
            if not pods:
                del self._pods[key]
        return gone or known is None or replace(known, version=pod.version) != pod

    def _is_written_down(self, key: Key, pod: Pod) -> bool:
        """Whether a pod's FineTuneJob is gone, has ended for good, or is further than its attempt."""
        known = self.jobs.get(key)
        if known is None or "completionTime" in known["status"]:
            return True
        return names.attempt_of(pod.child) < (known["status"].get("attempt") or 1)

    def _remember_deletion(self, uid: str) -> None:
        self._deleted[uid] = None
        if len(self._deleted) > _REMEMBERED_DELETIONS:
            self._deleted.pop(next(iter(self._deleted)))


def _slim(document: Document) -> Document:
    """The document without what nobody here reads."""
    metadata = {key: value for key, value in document["metadata"].items() if key != "managedFields"}
    annotations: dict[str, Any] = metadata.get("annotations") or {}
    if _LAST_APPLIED in annotations:
        metadata["annotations"] = {key: value for key, value in annotations.items() if key != _LAST_APPLIED}
    return {"metadata": metadata, "spec": document.get("spec"), "status": document.get("status") or {}}


def _version(document: Document) -> str:
    return str(document["metadata"].get("resourceVersion", ""))


def _newer(version: str, than: str) -> bool:
    """Whether a resourceVersion is newer; where they are no numbers, whether it is another."""
    if version.isdigit() and than.isdigit():
        return int(version) > int(than)
    return version != than or not version
