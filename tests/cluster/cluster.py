"""A cluster with nodes as its users see it: kubectl, namespaces, volumes; knows not how it was started."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster import storage
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterError
from tests.cluster.kubectl import kubectl
from tests.cluster.machine import MACHINE, WAY_IN
from tests.cluster.namespaces import Namespaces
from tests.cluster.process import Process

_SPARE_VOLUMES = 40


@dataclass(frozen=True)
class Cluster:
    """A running cluster; make one with `tests.cluster.start.start_cluster`.

    Attributes:
        kubeconfig: of an administrator.
        directory: everything of this cluster; volumes are below `volumes`.
        node_names: the nodes that pods run on.
        kubernetes: version of kubectl.
        plane: the control plane's processes; None where they are not ours (kind).
        kubelets: the kubelet's process of each node, likewise empty; its containers outlive it.
    """

    kubeconfig: Path
    directory: Path
    node_names: list[str]
    kubernetes: str
    plane: ControlPlane | None = None
    kubelets: dict[str, Process] = field(default_factory=dict)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl as administrator and return its output; errors as `tests.cluster.kubectl.kubectl`."""
        return kubectl(self.kubeconfig, *arguments, kubernetes=self.kubernetes, stdin=stdin, check=check)

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply manifests as an administrator."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(listed))

    def namespace(self, name: str) -> None:
        """Make a namespace that enforces the restricted Pod Security Standard."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        self.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")

    def claim(self, name: str, namespace: str, content: Path | None = None) -> Path:
        """Make a volume claim on a volume of its own.

        Args:
            name: of the claim.
            namespace: of the claim.
            content: a directory whose copy the volume holds; None for an empty one.

        Returns:
            The volume's directory, which the test may read and write as well.
        """
        directory = self.directory / "volumes" / f"{namespace}-{name}"
        if content:
            shutil.copytree(content, directory)
        made = storage.volume(f"{namespace}-{name}", directory, self.node_names, (namespace, name))
        self.apply(made, storage.volume_claim(name, namespace))
        return directory

    def small_claim(self, name: str, namespace: str, size: str) -> Path:
        """Make a volume claim on a file system of its own, which is full when `size` (`8m`) is used up.

        Returns:
            The file system's directory, which the test may read and write as well.

        Raises:
            ClusterError: the nodes are not processes of this machine (kind).
        """
        directory = self.claim(name, namespace)
        way_in = self.directory / MACHINE / WAY_IN
        if not way_in.exists():
            raise ClusterError("a small volume needs nodes that are processes of this machine")
        inside = Namespaces.read(way_in)
        inside.run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", directory)
        return Path(f"/proc/{inside.pid}/root/{directory}")

    def claim_directory(self, name: str, namespace: str) -> Path:
        """Return the directory of the volume that a claim has got, for example of one that the operator made."""
        path = "jsonpath={.spec.volumeName}"
        volume = self.kubectl("get", "pvc", name, "-n", namespace, "-o", path)
        return Path(self.kubectl("get", "pv", volume, "-o", "jsonpath={.spec.local.path}"))

    def add_storage(self) -> None:
        """Make the default storage class and volumes that any claim may have."""
        names = [f"spare-{number}" for number in range(1, _SPARE_VOLUMES + 1)]
        directory = self.directory / "volumes"
        self.apply(
            storage.storage_class(),
            *(storage.volume(name, directory / name, self.node_names) for name in names),
        )

    def wait_nodes(self) -> None:
        """Wait until every node has registered and is ready."""
        self.kubectl("wait", "--for=create", "node", *self.node_names, "--timeout=60s")
        self.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")
