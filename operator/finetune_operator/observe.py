"""Gathers what a decision needs: from the caches where presence is enough, else from the API server."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from typing import Any

from finetune_api.v1alpha1.defaults import resolve
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import FineTuneJobStatus, JobStatus

from . import names, times
from .builders import mounts
from .cache import Cache, Key
from .complaints import Complaints
from .decide import TERMINAL
from .errors import NotFoundError
from .kube.protocol import CLAIM, CONFIG_MAP, JOB, NODE, POD, Document, Kind, Kube
from .kueue import Kueue
from .observation import LOST_AFTER, Child, Observation, Obstacle, Pod, newest
from .policies import deadline
from .policies.ends import CREATED
from .predecessors import Predecessors
from .progress import ProgressReader
from .settings import Settings

VERIFY_AFTER = 240.0
_REMEMBERED = 10_000
TRUSTED_SECONDS = 60.0
"""How long something outside that was there is taken to be there still."""


class Observer:
    """Makes observations of jobs, with as few requests as can be."""

    def __init__(self, kube: Kube, cache: Cache, progress: ProgressReader, settings: Settings) -> None:
        self._kube = kube
        self._cache = cache
        self._progress = progress
        self._settings = settings
        self.predecessors = Predecessors(kube, cache, settings.platform)
        self._complaints = Complaints(kube)
        self._kueue = Kueue(kube)
        self._seen_at: dict[tuple[str, str, str], float] = {}
        self._verified: dict[str, float] = {}

    async def observe(self, key: Key, now: datetime) -> Observation | None:
        """The job as it is now, or None when there is none, or none with which anything is left to be done."""
        document = self._cache.jobs.get(key)
        if document is None:
            return None
        if _is_settled(document):
            return None
        metadata = document["metadata"]
        namespace, name = key
        spec, invalid = _read_spec(document)
        status = FineTuneJobStatus.model_validate(document["status"])
        uid = metadata["uid"]
        base = Observation(
            name=name,
            namespace=namespace,
            uid=uid,
            version=metadata.get("resourceVersion", ""),
            generation=metadata.get("generation", 1),
            created=times.parse(metadata["creationTimestamp"]) or now,
            spec=spec,
            status=status,
            labels=metadata.get("labels") or {},
            annotations=metadata.get("annotations") or {},
            invalid=invalid,
            deleting="deletionTimestamp" in metadata,
            jobs=tuple((status.effective and status.effective.jobs) or ()),
        )
        if base.deleting or spec is None or status.phase in TERMINAL:
            return base
        child = await self._child(base, now)
        pods = await self._pods(base, child)
        left_over = await self._left_over(base) if child is None and status.phase not in CREATED else ()
        seen = replace(
            base,
            child=child,
            older_child=self._older(base),
            stray=self._stray(base),
            made_ago=self._cache.seconds_since_made(uid),
            made_beside=self._cache.unsaid(),
            pods=pods,
            replaced=self._replaced(base, child, pods),
            left_over=left_over,
            lost_pods=await self._lost((*pods, *left_over), now),
            report=self._progress.report(key, uid),
            **(await self._outside(base) if child is None and _may_start(base) else {}),
        )
        return replace(seen, complaint=await self._complaint(seen, now))

    async def _complaint(self, seen: Observation, now: datetime) -> Obstacle | None:
        """What others say of pods that are not there."""
        child = seen.child
        if child is not None and child.suspended and child.deleting is None and not child.over:
            return await self._kueue.about(seen.namespace, child, seen.labels, now)
        if child is not None:
            self._kueue.let_go(seen.namespace, child.uid)
        return await self._complaints.about(seen, now)

    async def _child(self, job: Observation, now: datetime) -> Child | None:
        """The current attempt's Job. None is certain where the attempt was begun, or none is to follow."""
        name = names.child_name(job.name, job.attempt)
        child = self._cache.child(job.namespace, name)
        if child is not None and child.owner_uid != job.uid:
            child = None  # another job's that had this name; creating tells
        if child is None and not (job.status.phase in CREATED or _may_stop(job, now)):
            return None
        if child is not None and not self._is_due(child):
            return child
        try:
            document = await self._kube.get(JOB, job.namespace, name)
        except NotFoundError:
            self._cache.forget_child(job.namespace, name)
            return None
        self._cache.take(JOB, None, document)
        child = Child.of(document)
        self._verified[child.uid] = time.monotonic()
        return child if child.owner_uid == job.uid else None

    def _is_due(self, child: Child) -> bool:
        """Whether a live Job has to be asked for again: its deletion may have been lost with a watch."""
        if child.over:
            self._verified.pop(child.uid, None)
            return False
        now = time.monotonic()
        if len(self._verified) > _REMEMBERED:
            self._verified.clear()
        return now - self._verified.setdefault(child.uid, now) > VERIFY_AFTER

    async def _pods(self, job: Observation, child: Child | None) -> tuple[Pod, ...]:
        """The attempt's pods; asked for where the Job is over or gone and not all their ends were seen."""
        name = names.child_name(job.name, job.attempt)
        pods = self._known_pods(job, child, name)
        if child is None:
            unsaid = self._cache.seconds_since_made(job.uid) is not None
            complete = not unsaid and job.status.phase not in CREATED and all(pod.ended for pod in pods)
        else:
            complete = not child.over or sum(pod.ended for pod in pods) >= job.nodes
        if complete:
            return pods
        there = await self._list_pods(job.namespace, f"{names.CHILD_LABEL}={name}")
        self._cache.only_pods((job.namespace, job.name), there, of=name)
        return self._known_pods(job, child, name)

    def _known_pods(self, job: Observation, child: Child | None, name: str) -> tuple[Pod, ...]:
        """The newest of each index. Without the Job it is told by their age whether those that have ended are of an
        earlier FineTuneJob of this name."""
        known = self._cache.pods(job.namespace, child, name)
        mine = (pod for pod in known if not (pod.ended and job.is_before(pod)))
        return newest(mine if child is None else known)

    def _replaced(self, job: Observation, child: Child | None, pods: tuple[Pod, ...]) -> tuple[Pod, ...]:
        if child is None:
            return ()
        known = self._cache.pods(job.namespace, child, child.name)
        return tuple(pod for pod in known if pod not in pods) if len(known) > len(pods) else ()

    async def _left_over(self, job: Observation) -> tuple[Pod, ...]:
        """Pods that have not ended of other Jobs of this name; asked for where the cache has any."""
        key, name = (job.namespace, job.name), names.child_name(job.name, job.attempt)
        if not self._cache.pods_beside(key, name):
            return ()
        there = await self._list_pods(job.namespace, f"{names.JOB_LABEL}={job.name}")
        self._cache.only_pods(key, there)
        return self._cache.pods_beside(key, name)

    async def _list_pods(self, namespace: str, labels: str) -> frozenset[str]:
        """Takes pods in as the API server has them now; returns their uids."""
        documents = await self._kube.list(POD, namespace, labels)
        for document in documents:
            self._cache.take(POD, None, document)
        return frozenset(document["metadata"]["uid"] for document in documents)

    def _older(self, job: Observation) -> Child | None:
        """The Job of the attempt before the last: the last one's is kept, for its log."""
        return self._child_before(job, 2)

    def _stray(self, job: Observation) -> tuple[Child, ...]:
        """An attempt is only followed by another one when its Job is over or gone."""
        before = (self._child_before(job, 1), self._child_before(job, 2))
        return tuple(child for child in before if child is not None and not child.over)

    def _child_before(self, job: Observation, attempts: int) -> Child | None:
        """The Job of an attempt so many before the current one, unless it is being deleted."""
        number = (job.status.attempt or 1) - attempts
        child = self._cache.child(job.namespace, names.child_name(job.name, number)) if number > 0 else None
        return child if child is not None and child.owner_uid == job.uid and child.deleting is None else None

    async def _lost(self, pods: tuple[Pod, ...], now: datetime) -> tuple[Pod, ...]:
        """Pods under deletion long after their grace, on nodes that are not ready or gone."""
        lost = []
        for pod in pods:
            overdue = pod.delete_by is not None and now > pod.delete_by + LOST_AFTER
            if overdue and not pod.gone and pod.node is not None and not await self._is_ready(pod.node):
                lost.append(pod)
        return tuple(lost)

    async def _is_ready(self, node: str) -> bool:
        try:
            document = await self._kube.get(NODE, "", node)
        except NotFoundError:
            return False
        conditions = (document.get("status") or {}).get("conditions") or ()
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    async def _outside(self, job: Observation) -> dict[str, Any]:
        """What the job refers to: the jobs that it begins with, and what is not there."""
        assert job.spec is not None
        jobs = job.jobs or await self.predecessors.find((job.namespace, job.name), job.spec)
        if isinstance(jobs, Obstacle):
            return {"obstacle": jobs}
        return {"jobs": jobs, "obstacle": await self._obstacle(job, job.spec, jobs)}

    async def _obstacle(self, job: Observation, spec: FineTuneJobSpec, jobs: tuple[JobStatus, ...]) -> Obstacle | None:
        """What is not there of what the job mounts."""
        resolved = resolve(spec, self._settings.platform).spec.dump()
        existing = resolved.get("storage", {}).get("claim", {}).get("name")
        of_jobs = {claim for one in jobs for claim in (one.claim, *(one.claims or ()))}
        for claim in sorted({*mounts.claims(resolved), *of_jobs, *([existing] if existing else [])}):
            if claim != names.claim_name(job.name) and not await self._is_there(CLAIM, job.namespace, claim):
                return Obstacle("ClaimNotFound", f"there is no PersistentVolumeClaim {claim} in {job.namespace}")
        for config_map in mounts.config_maps(resolved):
            if not await self._is_there(CONFIG_MAP, job.namespace, config_map):
                return Obstacle("ConfigMapNotFound", f"there is no ConfigMap {config_map} in {job.namespace}")
        return None

    async def _is_there(self, kind: Kind, namespace: str, name: str) -> bool:
        key = (kind.plural, namespace, name)
        now = time.monotonic()
        if now - self._seen_at.get(key, float("-inf")) < TRUSTED_SECONDS:
            return True
        if not await self._kube.exists(kind, namespace, name):
            return False
        if len(self._seen_at) > _REMEMBERED:
            self._seen_at.clear()
        self._seen_at[key] = now
        return True


def _is_settled(document: Document) -> bool:
    """Whether a job has ended for good and stays: told without parsing it, since most are like that at a restart."""
    metadata, status, spec = document["metadata"], document["status"], document["spec"] or {}
    stays = "deletionTimestamp" in metadata or spec.get("ttlSecondsAfterFinished") is None
    return stays and status.get("phase") in TERMINAL and status.get("observedGeneration") == metadata.get("generation")


def _read_spec(document: Document) -> tuple[FineTuneJobSpec | None, str | None]:
    try:
        return FineTuneJobSpec.model_validate(document["spec"]), None
    except ValueError as error:
        return None, f"the stored spec is not valid for this version: {error}"


def _may_stop(job: Observation, now: datetime) -> bool:
    """Whether the job may end or pause now: a Job that was made and not heard of yet would run on."""
    spec = job.spec
    return spec is not None and bool(spec.suspend or spec.cancel or deadline.passed(job, now))


def _may_start(job: Observation) -> bool:
    return job.spec is not None and not job.spec.suspend and not job.spec.cancel
