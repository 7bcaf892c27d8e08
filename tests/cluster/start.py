"""Starts a cluster with nodes, of local processes or, where a Docker engine answers, on kind."""

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import kind
from tests.cluster.cluster import Cluster
from tests.cluster.containerd import PAUSE_IMAGE, Containerd
from tests.cluster.control_plane import ControlPlane
from tests.cluster.images import Image, build_images, load_images
from tests.cluster.kubelet import kubelet, node_name
from tests.cluster.machine import MACHINE, WAY_IN, Machine, install_packages
from tests.cluster.namespaces import Namespaces
from tests.cluster.network import coredns, dns_objects, kube_proxy
from tests.cluster.node_images import NodeImages
from tests.cluster.process import Process


@contextmanager
def start_cluster(directory: Path, *, nodes: int = 1, images: Sequence[str] = (), **options: Any) -> Iterator[Cluster]:
    """Start a cluster in `directory`, and remove it at the end of the block.

    Args:
        directory: for data, logs, volumes and credentials.
        nodes: how many, from 1.
        images: names of `tests.cluster.images` to build and load.
        options: as for `ControlPlane.start`, local processes only; `kubernetes` is `oldest` unless given,
            because newer kubelets refuse version 1 control groups.

    Raises:
        ClusterError: something is missing, died, or was not ready in time.
    """
    directory = directory.resolve()
    for left in (directory / "volumes", *directory.glob("containerd-*")):  # an earlier cluster's
        shutil.rmtree(left, ignore_errors=True)
    if kind.available():
        with kind.start(directory, nodes, images) as cluster:
            yield cluster
        return
    install_packages()
    names = [node_name(number) for number in range(1, nodes + 1)]
    with ExitStack() as stack:
        aside = stack.enter_context(ThreadPoolExecutor(1))
        built = aside.submit(build_images, [PAUSE_IMAGE, *images])
        machine = stack.enter_context(Machine.start(directory / MACHINE))
        chosen = {"kubernetes": "oldest", "audit": True} | options
        started = ControlPlane.start(directory, address=machine.address, scheduler=True, nodes=tuple(names), **chosen)
        plane = stack.enter_context(started)
        kubelets: dict[str, Process] = {}
        cluster = Cluster(plane.kubeconfig, directory, names, plane.options.kubernetes, plane, kubelets)
        cluster.add_storage()
        cluster.apply(*dns_objects(machine))
        first: Containerd | None = None
        for number, name in enumerate(names, start=1):
            runtime = stack.enter_context(Containerd.start(machine, directory, number, like=first))
            load_images(built.result(), runtime.images)
            kubelets[name] = kubelet(machine, plane, runtime.images.socket, number)
            first = first or runtime
        _start_all([kube_proxy(machine, plane), coredns(machine, plane), *kubelets.values()])
        cluster.wait_nodes()
        yield cluster


def reload_images(directory: Path, built: list[Image]) -> int:
    """Give the images to the nodes of a cluster that another process keeps up; return how many nodes it has."""
    way_in = directory / MACHINE / WAY_IN
    if not way_in.exists():
        return 0
    inside = Namespaces.read(way_in)
    nodes = len(list(directory.glob("containerd-*")))
    for node in range(1, nodes + 1):
        load_images(built, NodeImages(inside, node))
    return nodes


def _start_all(programs: list[Process]) -> None:
    for program in programs:
        program.launch()
    for program in programs:
        program.wait_ready()
