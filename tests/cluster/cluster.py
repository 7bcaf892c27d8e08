"""A whole cluster: the control plane, one or two nodes, names, storage and our images; holds no policy of tests."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import storage
from tests.cluster.containerd import PAUSE_IMAGE, Containerd
from tests.cluster.control_plane import ControlPlane
from tests.cluster.images import build_images, load_images
from tests.cluster.kubelet import kubelet, node_name
from tests.cluster.machine import Machine, install_packages
from tests.cluster.network import coredns, dns_objects, kube_proxy

_SPARE_VOLUMES = 12


class Cluster:
    """A running cluster with nodes; make one with `Cluster.start`.

    Attributes:
        plane: its control plane; `cluster.plane.kubectl(...)`.
        nodes: the container runtimes, one a node.
        directory: everything of this cluster; volumes are below `volumes`.
    """

    def __init__(self, plane: ControlPlane, nodes: list[Containerd], directory: Path) -> None:
        self.plane = plane
        self.nodes = nodes
        self.directory = directory

    @classmethod
    @contextmanager
    def start(
        cls, directory: Path, *, nodes: int = 1, images: list[str] | None = None, **options: Any
    ) -> Iterator["Cluster"]:
        """Start a cluster in `directory`, and remove it at the end of the block. Needs root.

        Args:
            directory: for data, logs, volumes and credentials.
            nodes: 1 or 2.
            images: names of `tests.cluster.images` to build and load.
            options: as for `ControlPlane.start`; `kubernetes` is `oldest` unless given.

        Raises:
            ClusterError: something is missing, died, or was not ready in time.
        """
        install_packages()
        built = build_images([PAUSE_IMAGE, *(images or [])])
        directory = directory.resolve()
        shutil.rmtree(directory / "volumes", ignore_errors=True)
        names = tuple(node_name(one + 1) for one in range(nodes))
        with ExitStack() as stack:
            machine = Machine(directory / "machine")
            stack.callback(machine.stop)
            machine.start()
            chosen = {"kubernetes": "oldest", "audit": True} | options
            plane = stack.enter_context(
                ControlPlane.start(directory, address=machine.address, scheduler=True, nodes=names, **chosen)
            )
            cluster = cls(plane, [], directory)
            for number in range(1, nodes + 1):
                node = Containerd(machine, directory, number)
                stack.callback(node.stop)
                node.start()
                load_images(built, node)
                cluster.nodes.append(node)
            cluster._start_nodes(machine)
            yield cluster

    def _start_nodes(self, machine: Machine) -> None:
        spare = [self._volume(f"spare-{number}") for number in range(1, _SPARE_VOLUMES + 1)]
        self.apply(*dns_objects(machine), storage.storage_class(), *spare)
        programs = [kube_proxy(machine, self.plane), coredns(machine, self.plane)]
        for number, node in enumerate(self.nodes, 1):
            programs.append(kubelet(machine, self.plane, node.socket, number))
        for program in programs:
            program.launch()
        for program in programs:
            program.wait_ready()
        self.plane.kubectl("wait", "--for=create", "node", *self.node_names, "--timeout=60s")
        self.plane.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")

    @property
    def node_names(self) -> list[str]:
        """The names of the nodes."""
        return [node_name(number) for number in range(1, len(self.nodes) + 1)]

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply manifests as an administrator."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(listed))

    def claim(self, name: str, namespace: str, content: Path | None = None) -> Path:
        """Make a volume claim, bound to a volume of its own that holds a copy of `content`; return its directory."""
        directory = self.directory / "volumes" / f"{namespace}-{name}"
        if content:
            shutil.copytree(content, directory)
        manifest = storage.volume(f"{namespace}-{name}", directory, self.node_names, (namespace, name))
        self.apply(manifest, storage.volume_claim(name, namespace))
        return directory

    def volume_directory(self, volume: str) -> Path:
        """Return the directory of a persistent volume, for example of the one that a claim got."""
        read = self.plane.kubectl("get", "pv", volume, "-o", "jsonpath={.spec.local.path}")
        return Path(read)

    def namespace(self, name: str) -> None:
        """Make a namespace that enforces the restricted Pod Security Standard."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})

    def _volume(self, name: str) -> dict[str, Any]:
        return storage.volume(name, self.directory / "volumes" / name, self.node_names)
