"""Carries a decision out: make, delete, write the status, say it. The only writer of anything; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence

from . import names
from .builders import network_policy
from .cache import Cache
from .draft import Decision
from .errors import (
    WEBHOOK_FAILED,
    AlreadyExistsError,
    ForbiddenError,
    InvalidError,
    NameTakenError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from .events import Announcer
from .kube.protocol import CLAIM, FINE_TUNE_JOB, JOB, NETWORK_POLICY, POD, Document, Kube, kind_of
from .merge_patch import difference
from .observation import NODE_LOST, Observation, Pod

_OF_REPORTS = frozenset({"progress", "checkpoint", "effective", "warnings", "history"})
_UNAUTHORIZED = 401


class Actor:
    """Writes to the API server, in an order in which a crash after any write loses nothing."""

    def __init__(self, kube: Kube, cache: Cache, announcer: Announcer) -> None:
        self._kube = kube
        self._cache = cache
        self._announcer = announcer

    async def act(self, seen: Observation, decision: Decision) -> None:
        """Does what was decided. Raises NameTakenError, RefusedError, KubeError."""
        if decision.delete_job:
            await self._kube.delete(FINE_TUNE_JOB, seen.namespace, seen.name, uid=seen.uid)
            return
        await self._create_all(seen, decision.create)
        for child in decision.delete:
            await self._kube.delete(JOB, seen.namespace, child.name, uid=child.uid)
        for pod in decision.force_delete:
            await self._give_up(seen.namespace, pod)
        await self._write_status(seen, decision)
        for note in decision.notes:
            self._announcer.announce(seen, note)

    async def _give_up(self, namespace: str, pod: Pod) -> None:
        """Takes a pod away whose node cannot end it. Its Job waits until the pod has failed, hence the first write."""
        if not pod.ended:
            failed = {"phase": "Failed", "reason": NODE_LOST, "message": f"node {pod.node} was lost"}
            try:
                await self._kube.patch_status(
                    POD, namespace, pod.name, failed, uid=pod.uid, version=pod.version, manager=names.MANAGER
                )
            except NotFoundError:
                self._cache.pod_gone(namespace, pod)  # said here, it would be taken for the job's own absence
                return
        await self._kube.delete(POD, namespace, pod.name, uid=pod.uid, grace_seconds=0)
        self._cache.pod_gone(namespace, pod)  # without grace it goes at once, and its end may never be told

    async def _create_all(self, seen: Observation, documents: Sequence[Document]) -> None:
        """Makes objects in their order."""
        policy: Document | None = None
        for document in documents:
            kind = kind_of(document)
            made = await self._create(
                seen, network_policy.outlasting(policy, document) if policy and kind == JOB else document
            )
            policy = made if kind == NETWORK_POLICY else policy

    async def _create(self, seen: Observation, document: Document) -> Document:
        """Makes an object; one that is there already is ours, or its name is taken."""
        kind = kind_of(document)
        try:
            made = await self._kube.create(kind, document)
        except (ForbiddenError, InvalidError) as error:
            if error.status == _UNAUTHORIZED:
                raise
            raise RefusedError(str(error)) from None
        except UnavailableError as error:
            if WEBHOOK_FAILED not in str(error):
                raise
            raise RefusedError(str(error)) from None
        except AlreadyExistsError:
            try:
                made = await self._kube.get(kind, seen.namespace, document["metadata"]["name"])
            except NotFoundError:
                raise NameTakenError(f"{kind.name} {document['metadata']['name']} is just going", True) from None
            if not _is_ours(made, document, seen.uid):
                name = made["metadata"]["name"]
                raise NameTakenError(
                    f"{kind.name} {name} belongs to something else: delete it, or name the job differently",
                    passing="deletionTimestamp" in made["metadata"] or _is_of_an_earlier_job(made, seen),
                ) from None
            if kind == CLAIM:
                _check_shared(made, document)
        if kind == JOB:
            self._cache.made(seen.uid, made)
        return made

    async def _write_status(self, seen: Observation, decision: Decision) -> None:
        if decision.status is None:
            return
        patch = difference(seen.status.dump(), decision.status.dump())
        if not patch:
            return
        of_report = decision.from_report and set(patch) <= _OF_REPORTS | {"observedGeneration"}
        written = await self._kube.patch_status(
            FINE_TUNE_JOB,
            seen.namespace,
            seen.name,
            patch,
            uid=seen.uid,
            version=seen.version,
            manager=names.PROGRESS_MANAGER if of_report else names.MANAGER,
        )
        self._cache.take(FINE_TUNE_JOB, None, written)
        if decision.status.attempt != seen.status.attempt or decision.status.completion_time:
            self._cache.forget_ends((seen.namespace, seen.name))


def _check_shared(found: Document, wanted: Document) -> None:
    """Raises NameTakenError where a job of several nodes finds a claim that was made for one."""
    modes = found["spec"]["accessModes"]
    if "ReadWriteMany" in wanted["spec"]["accessModes"] and "ReadWriteMany" not in modes:
        raise NameTakenError(
            f"PersistentVolumeClaim {found['metadata']['name']} is {', '.join(modes)}, as it was made for one node; "
            "the pods of several nodes cannot share it: suspend the job and write compute.nodes 1, or begin again with "
            "storage.claim and a claim that is ReadWriteMany",
            passing=False,
            reason="ClaimNotShared",
        ) from None


def _is_of_an_earlier_job(found: Document, seen: Observation) -> bool:
    """Whether it belongs to a FineTuneJob of this name that is gone: garbage collection has not come to it yet."""
    owners = found["metadata"].get("ownerReferences") or ()
    return any(
        owner["kind"] == FINE_TUNE_JOB.name and owner["name"] == seen.name and owner["uid"] != seen.uid
        for owner in owners
    )


def _is_ours(found: Document, wanted: Document, uid: str) -> bool:
    """Whether what is there is what was to be made: owned by this job, or a retained claim of a job of this name."""
    metadata = found["metadata"]
    if "deletionTimestamp" in metadata:
        return False
    if "ownerReferences" in wanted["metadata"]:
        return any(owner.get("uid") == uid for owner in metadata.get("ownerReferences") or ())
    labels = metadata.get("labels") or {}
    return all(labels.get(key) == value for key, value in wanted["metadata"]["labels"].items())
