"""What an attempt is made from, and the list of its documents; each document has a file of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from finetune_api.trainer_contract import Adaptation
from finetune_api.v1alpha1 import API_VERSION, KIND
from finetune_api.v1alpha1.compute import Compute
from finetune_api.v1alpha1.identity import fingerprint, produced
from finetune_api.v1alpha1.pod_template import PodTemplate
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import JobStatus

from .. import names
from ..settings import Settings

KUEUE = "kueue.x-k8s.io/"
FOREGROUND = "foregroundDeletion"
"""Finalizer of Kubernetes' garbage collection, which sets and takes it: the object goes after what it owns."""


@dataclass(frozen=True)
class Attempt:
    """One attempt of a job. `spec` is the resolved one."""

    name: str
    namespace: str
    uid: str
    number: int
    spec: FineTuneJobSpec
    image: str
    labels: dict[str, str] = field(default_factory=dict)
    """Of the FineTuneJob; Kueue's are handed on."""
    annotations: dict[str, str] = field(default_factory=dict)
    adaptation: Adaptation = field(default_factory=Adaptation)
    diverged_at: int | None = None
    """The step before which the job goes back."""
    avoid_node: str | None = None
    """A node whose devices could not be used."""
    jobs: tuple[JobStatus, ...] = ()
    """The jobs whose results it begins with."""

    @cached_property
    def document(self) -> dict[str, Any]:
        """The spec as a plain object; to be read only."""
        return self.spec.dump()

    @property
    def child(self) -> str:
        return names.child_name(self.name, self.number)

    @property
    def compute(self) -> Compute:
        return self.spec.compute or Compute()

    @property
    def nodes(self) -> int:
        return self.compute.nodes or 1

    @property
    def gpus(self) -> int:
        """Devices a node."""
        return self.compute.gpus_per_node or 0

    @property
    def overlay(self) -> PodTemplate:
        return self.spec.pod_template or PodTemplate()

    @property
    def claim(self) -> str:
        """The claim on which results lie."""
        storage = self.spec.storage
        return storage.claim.name if storage and storage.claim else names.claim_name(self.name)

    @cached_property
    def fingerprint(self) -> str:
        """The directory of the results, below that of the job."""
        return fingerprint(self.spec, produced(self.jobs))

    def metadata(self, name: str, *, owned: bool = True) -> dict[str, Any]:
        """Metadata of an object of this job."""
        metadata: dict[str, Any] = {"name": name, "namespace": self.namespace, "labels": names.labels(self.name)}
        if owned:
            owner = {"apiVersion": API_VERSION, "kind": KIND, "name": self.name, "uid": self.uid}
            metadata["ownerReferences"] = [{**owner, "controller": True}]
        return metadata

    def queueing(self, of: dict[str, str]) -> dict[str, str]:
        """Those of the job's labels or annotations that are Kueue's."""
        return {key: value for key, value in of.items() if key.startswith(KUEUE)}


def documents(attempt: Attempt, settings: Settings) -> list[dict[str, Any]]:
    """Everything that has to be there for the attempt, its Job last. Raises ConfigurationTooLargeError."""
    from . import claim, job, network_policy, service

    made = [job.build(attempt, settings)]
    if settings.network_policy:
        made.insert(0, network_policy.build(attempt, settings))
    if attempt.nodes > 1:
        made.insert(0, service.build(attempt))
    if attempt.spec.storage is None or attempt.spec.storage.claim is None:
        made.insert(0, claim.build(attempt))
    return made
