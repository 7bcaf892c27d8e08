"""Runs the cluster with a node on kind, where a Docker engine answers; knows nothing of our own node.

Not run where it was written, which had no Docker engine.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.cluster.base_image import REGISTRY_BASE
from tests.cluster.binaries import docker_engine
from tests.cluster.cluster import Cluster
from tests.cluster.errors import MissingToolError
from tests.cluster.images import BASE, DOCKERFILES, ROOT
from tests.cluster.kubectl import kubectl
from tests.cluster.namespaces import run

_DEFAULT = "storageclass.kubernetes.io/is-default-class"

_FORCED = "FINETUNE_NODE"  # `process` prefers the node of local processes where Docker would be taken


def available() -> bool:
    """Say whether the node should be kind's: a Docker engine answers and nobody asked for the other."""
    return os.environ.get(_FORCED) != "process" and docker_engine()


def up(directory: Path, nodes: int, images: Sequence[str]) -> Cluster:
    """Create the cluster with the storage of the other one, and build and load the images.

    Raises:
        MissingToolError: kind is not installed.
        ClusterError: kind or Docker failed; carries what it said.
    """
    if not shutil.which("kind"):
        raise MissingToolError("kind is missing: `go install sigs.k8s.io/kind@latest`, or https://kind.sigs.k8s.io")
    directory.mkdir(parents=True, exist_ok=True)
    volumes = directory / "volumes"
    volumes.mkdir(exist_ok=True)
    mounts = [{"hostPath": str(volumes), "containerPath": str(volumes)}]  # local volumes under the same path
    roles = ["control-plane", *["worker"] * (nodes - 1)]
    config = directory / "kind.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "kind": "Cluster",
                "apiVersion": "kind.x-k8s.io/v1alpha4",
                "nodes": [{"role": role, "extraMounts": mounts} for role in roles],
            }
        )
    )
    kubeconfig = directory / "kind.kubeconfig"
    run("kind", "create", "cluster", "--name", _name(directory), "--config", config, "--kubeconfig", kubeconfig)
    for image in images:
        if image == BASE:
            run("docker", "pull", REGISTRY_BASE)
            run("docker", "tag", REGISTRY_BASE, BASE)
        else:
            run("docker", "build", "--file", DOCKERFILES[image], "--tag", image, ROOT)
        run("kind", "load", "docker-image", image, "--name", _name(directory))
    listed = kubectl(kubeconfig, "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}")
    cluster = Cluster(kubeconfig, directory, listed.split(), "newest")
    # kind brings a default class of its own, which knows ReadWriteOnce only.
    cluster.kubectl("annotate", "storageclass", "standard", f"{_DEFAULT}=false", "--overwrite")
    cluster.add_storage()
    cluster.wait_nodes()
    return cluster


@contextmanager
def start(directory: Path, nodes: int, images: Sequence[str]) -> Iterator[Cluster]:
    """Create the cluster, and delete it at the end of the block."""
    try:
        yield up(directory, nodes, images)
    finally:
        down(directory)


def down(directory: Path) -> bool:
    """Delete the cluster of a directory; return whether there was one."""
    kubeconfig = directory / "kind.kubeconfig"
    if not kubeconfig.exists():
        return False
    run("kind", "delete", "cluster", "--name", _name(directory), "--kubeconfig", kubeconfig)
    kubeconfig.unlink()
    return True


def _name(directory: Path) -> str:
    return f"finetune-{directory.name}"
