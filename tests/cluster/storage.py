"""Volumes of the test nodes: a storage class, some empty volumes, and volumes filled by a test; no provisioner."""

from pathlib import Path
from typing import Any

STORAGE_CLASS = "local"
_SIZE = "50Gi"
# The nodes share one file system, so that every volume can be mounted by all of them at once.
_ACCESS = ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"]


def storage_class() -> dict[str, Any]:
    """Return the default storage class, which binds a claim when its first pod is scheduled."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def volume(name: str, directory: Path, nodes: list[str], claim: tuple[str, str] | None = None) -> dict[str, Any]:
    """Return a persistent volume on a directory, which is made.

    Args:
        name: of the volume.
        directory: its content; writable for everybody, since `fsGroup` differs from test to test.
        nodes: names of the nodes that can mount it.
        claim: namespace and name of the only claim that may have it; None for any.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o777)
    on_nodes = {"key": "kubernetes.io/hostname", "operator": "In", "values": nodes}
    spec: dict[str, Any] = {
        "capacity": {"storage": _SIZE},
        "accessModes": _ACCESS,
        "storageClassName": STORAGE_CLASS,
        "persistentVolumeReclaimPolicy": "Retain",
        "local": {"path": str(directory)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_nodes]}]}},
    }
    if claim:
        spec["claimRef"] = {"namespace": claim[0], "name": claim[1]}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def volume_claim(name: str, namespace: str) -> dict[str, Any]:
    """Return the claim for a volume that waits for it by name."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": STORAGE_CLASS,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
