"""What the operator asks of Kubernetes, as a Protocol with a real and a local side; holds no behaviour.

Objects are plain documents (dicts as in YAML): the operator reads few fields of many objects, and parsing all of them
would cost more than everything else. All methods raise the KubeError tree of `finetune_operator.errors`.

Changes of objects do not come through this Protocol: whoever sees them (kopf's watches, the local implementation)
calls `Listener`, that is `Controller.take`, with each object that was added, changed or deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Document = dict[str, Any]
Change = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True)
class Kind:
    """A kind of object and where the API server serves it."""

    api_version: str
    name: str
    plural: str
    namespaced: bool = True


FINE_TUNE_JOB = Kind("finetune.dev/v1alpha1", "FineTuneJob", "finetunejobs")
JOB = Kind("batch/v1", "Job", "jobs")
POD = Kind("v1", "Pod", "pods")
CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SERVICE = Kind("v1", "Service", "services")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
NODE = Kind("v1", "Node", "nodes", namespaced=False)
EVENT = Kind("events.k8s.io/v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
WORKLOAD = Kind("kueue.x-k8s.io/v1beta2", "Workload", "workloads")
"""Kueue's, only read; not every cluster has it."""
_KINDS = {
    (kind.api_version, kind.name): kind
    for kind in (FINE_TUNE_JOB, JOB, POD, CLAIM, CONFIG_MAP, SERVICE, NETWORK_POLICY, NODE, EVENT, LEASE)
}


def kind_of(document: Document) -> Kind:
    """The kind that a document says it is. KeyError for one that the operator does not know."""
    return _KINDS[document["apiVersion"], document["kind"]]


Listener = Callable[[Kind, Change, Document], None]
"""Told of every change of a FineTuneJob, child Job or pod, with the whole object; never blocks, never raises."""


class Kube(Protocol):
    """Reads and writes of single objects, and a trainer's progress. Every call ends within a timeout."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Document:
        """The object as the server has it now. Raises NotFoundError."""

    async def exists(self, kind: Kind, namespace: str, name: str) -> bool:
        """Whether the object is there now; reads its metadata at most."""

    async def list(self, kind: Kind, namespace: str, labels: str) -> list[Document]:
        """The objects of a namespace with a label selector (`key=value,...`; of Workloads, also `key in (...)`), as the
        server has them now."""

    async def warnings(self, kind: Kind, namespace: str) -> Sequence[Document]:
        """The events of type Warning about objects of a kind in a namespace, in no order; at most 5,000."""

    async def create(self, kind: Kind, document: Document) -> Document:
        """Creates the object in its metadata.namespace and returns it as stored. Raises AlreadyExistsError."""

    async def replace(self, kind: Kind, document: Document) -> Document:
        """Replaces the object with its name and resourceVersion. Raises ConflictError, NotFoundError."""

    async def patch_status(
        self, kind: Kind, namespace: str, name: str, status: Document, *, uid: str, version: str, manager: str
    ) -> Document:
        """Merges `status` (JSON merge patch: null removes) into the status subresource of the object that has this uid
        and still this resourceVersion, in the name of a field manager. Returns the object. Raises ConflictError,
        NotFoundError."""

    async def delete(
        self, kind: Kind, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None
    ) -> None:
        """Begins to delete the object with this uid and, in the foreground, what it owns. Nothing when it is gone or
        another object has its name. `grace_seconds` 0 on a pod takes it away at once."""

    async def progress(self, namespace: str, pod: str, address: str | None) -> bytes:
        """The body of `GET /progress` of the trainer in the pod of this name and status.podIP: no redirects, 2 s,
        64 KiB. Raises NoProgressError."""

    async def close(self) -> None:
        """Gives connections back."""
