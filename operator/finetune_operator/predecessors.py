"""The jobs that a job begins with: what they have produced, or why that is not there. Decides and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from finetune_api.v1alpha1.defaults import PlatformDefaults, resolve
from finetune_api.v1alpha1.identity import fingerprint, produced
from finetune_api.v1alpha1.job import FineTuneJob
from finetune_api.v1alpha1.predecessors import Reference, circle, names_in, references
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import JobStatus

from . import names
from .cache import Cache, Key
from .errors import NotFoundError
from .kube.protocol import FINE_TUNE_JOB, Document, Kube
from .observation import Obstacle

LONGEST_LINEAGE = 32
UNKNOWN = "0" * 16
"""Stands for a fingerprint that nobody knows yet."""
_OVER = frozenset({"Succeeded", "Failed", "Cancelled"})


def stand_ins(
    spec: FineTuneJobSpec, manifests: Iterable[FineTuneJob], platform: PlatformDefaults
) -> tuple[JobStatus, ...]:
    """What a job would begin with, as far as its predecessors' manifests say it: for looking at what would be made."""
    known = {manifest.metadata.name: manifest.dump() for manifest in manifests}
    found = []
    for reference in references(spec):
        document = known.get(reference.name, {"metadata": {"name": reference.name}, "spec": {}})
        digits = UNKNOWN
        if reference.name in known and not references(FineTuneJobSpec.model_validate(document["spec"])):
            digits = fingerprint(resolve(FineTuneJobSpec.model_validate(document["spec"]), platform).spec)
        base = _base(document["spec"].get("model") or {}) if reference.whole else {}
        found.append(JobStatus(name=reference.name, claim=_claim(document), path=f"{reference.name}/{digits}", **base))
    return tuple(found)


class Predecessors:
    """Looks them up: in the cache while they are waited for, at the server before something is begun with them."""

    def __init__(self, kube: Kube, cache: Cache, platform: PlatformDefaults) -> None:
        self._kube = kube
        self._cache = cache
        self._platform = platform
        self._waiting: dict[Key, set[Key]] = {}

    def released_by(self, key: Key) -> frozenset[Key]:
        """The jobs that asked for this one and may want to look again, now that it has changed."""
        return frozenset(self._waiting.pop(key, ()))

    async def find(self, job: Key, spec: FineTuneJobSpec) -> tuple[JobStatus, ...] | Obstacle:
        """What the job begins with, the nearest first; or what is in the way."""
        found: list[JobStatus] = []
        for reference in references(spec):
            made = await self._one(job, reference)
            if isinstance(made, Obstacle):
                return made
            found += [one for one in made if one.name not in {other.name for other in found}]
        for reference in references(spec):
            self._no_longer_waits(job, (job[0], reference.name))
        return tuple(found)

    def _no_longer_waits(self, job: Key, other: Key) -> None:
        self._waiting.get(other, set()).discard(job)
        if not self._waiting.get(other):
            self._waiting.pop(other, None)

    async def _one(self, job: Key, reference: Reference) -> list[JobStatus] | Obstacle:
        namespace, name = job
        self._waiting.setdefault((namespace, reference.name), set()).add(job)
        document = self._cache.jobs.get((namespace, reference.name))
        if document is None or _phase(document) in _OVER:
            try:
                document = await self._kube.get(FINE_TUNE_JOB, namespace, reference.name)
            except NotFoundError:
                return _missing(namespace, reference)
        waiting = circle(self._waits(name, document), name)
        if waiting is not None:
            return Obstacle("JobCycle", f"{reference.field}: {waiting}")
        made = _output(reference, document) if reference.whole else self._checkpoints(reference, document)
        if isinstance(made, list) and any(one.name == name for one in made):
            said = f"{reference.field}: {reference.name} was itself made from a job {name}: give this one another name"
            return Obstacle("JobCycle", said)
        return made

    def _waits(self, name: str, document: Document) -> dict[str, tuple[str, ...]]:
        """Job to those it waits for, for all that are waited for by way of this document's."""
        waits: dict[str, tuple[str, ...]] = {name: (document["metadata"]["name"],)}
        ahead = [document]
        for following in ahead:
            metadata = following["metadata"]
            if metadata["name"] in waits or _phase(following) in _OVER or _began_with(following):
                continue
            waits[metadata["name"]] = names_in(following["spec"])
            known = (self._cache.jobs.get((metadata["namespace"], other)) for other in waits[metadata["name"]])
            ahead += [other for other in known if other is not None]
        return waits

    def _checkpoints(self, reference: Reference, document: Document) -> list[JobStatus] | Obstacle:
        """The directory of a job's results, once the wanted checkpoint may be in it."""
        status, phase = document.get("status") or {}, _phase(document)
        newest = ((status.get("checkpoint") or {}).get("latest") or {}).get("step")
        wanted = "a checkpoint" if reference.step is None else f"the checkpoint of step {reference.step}"
        if newest is None or newest < (reference.step or 0):
            has = f"its newest is of step {newest}" if newest is not None else "it has none"
            if phase in _OVER:
                said = f"{reference.field}: job {reference.name} is {phase} without {wanted}: {has}; name another"
                return Obstacle("CheckpointNotFound", said)
            return Obstacle("WaitingForJob", f"waits for {wanted} of job {reference.name}: {has}", waiting=True)
        path = (status.get("effective") or {}).get("results") or self._results(document)
        return [JobStatus(name=reference.name, claim=_claim(document), path=path)]

    def _results(self, document: Document) -> str:
        """Where a job's results lie whose status does not say it."""
        spec = resolve(FineTuneJobSpec.model_validate(document["spec"]), self._platform).spec
        return f"{document['metadata']['name']}/{fingerprint(spec, produced(_began_with(document)))}"


def _output(reference: Reference, document: Document) -> list[JobStatus] | Obstacle:
    """The output of a job that has succeeded, and what that was made from where it is needed to load it."""
    status, phase = document.get("status") or {}, _phase(document)
    if phase in _OVER - {"Succeeded"}:
        failure = status.get("failure") or {}
        why = f" ({failure['reason']}: {failure.get('message', '')})"[:300] if failure.get("reason") else ""
        return Obstacle(
            "JobNotSucceeded",
            f"{reference.field}: job {reference.name} has ended as {phase}{why}: mend it and create it again under "
            "this name, or name another job",
        )
    if phase != "Succeeded":
        return Obstacle("WaitingForJob", f"waits for job {reference.name} to succeed: it is {phase}", waiting=True)
    output = status.get("output") or {}
    path, _, last = str(output.get("path", "")).rpartition("/")
    if not path or last != "output":
        said = f"{reference.field}: job {reference.name} has succeeded, and its status names no output: create it again"
        return Obstacle("JobHasNoOutput", said)
    adapter = bool(output.get("adapter"))
    made = JobStatus(
        name=reference.name,
        claim=output.get("claim") or _claim(document),
        path=path,
        digest=output.get("digest"),
        adapter=adapter,
        model=(status.get("effective") or {}).get("model"),
        **(_base(document["spec"].get("model") or {}) if adapter else {}),
    )
    older = _began_with(document) if adapter and (document["spec"].get("model") or {}).get("job") else ()
    if len(older) >= LONGEST_LINEAGE:
        said = f"{reference.field}: {LONGEST_LINEAGE} adapters lie one upon the other already: train a whole model"
        return Obstacle("LineageTooLong", said)
    return [made, *(one for one in older if one.digest is not None)]


def _base(model: dict[str, Any]) -> dict[str, Any]:
    """What a pod needs to read the model that an adapter was trained on."""
    if "claim" in model:
        return {"claims": [model["claim"]["name"]]}
    if "hub" in model:
        return {"hub": True, "token_secret": model["hub"].get("tokenSecret")}
    return {}


def _began_with(document: Document) -> tuple[JobStatus, ...]:
    jobs = ((document.get("status") or {}).get("effective") or {}).get("jobs") or ()
    return tuple(JobStatus.model_validate(job) for job in jobs)


def _claim(document: Document) -> str:
    storage = document["spec"].get("storage") or {}
    return str((storage.get("claim") or {}).get("name") or names.claim_name(document["metadata"]["name"]))


def _phase(document: Document) -> str:
    return str((document.get("status") or {}).get("phase") or "Pending")


def _missing(namespace: str, reference: Reference) -> Obstacle:
    said = f"{reference.field}: there is no FineTuneJob {reference.name} in {namespace}: create it, or name another"
    return Obstacle("JobNotFound", said)
