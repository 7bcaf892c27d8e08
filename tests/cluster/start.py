"""Starts a cluster with nodes, of local processes or, where a Docker engine answers, on kind."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import kind
from tests.cluster.cluster import Cluster
from tests.cluster.containerd import PAUSE_IMAGE, Containerd
from tests.cluster.control_plane import ControlPlane
from tests.cluster.images import build_images, load_images
from tests.cluster.kubelet import kubelet, node_name
from tests.cluster.machine import Machine, install_packages
from tests.cluster.network import coredns, dns_objects, kube_proxy
from tests.cluster.process import Process


@contextmanager
def start_cluster(directory: Path, *, nodes: int = 1, images: Sequence[str] = (), **options: Any) -> Iterator[Cluster]:
    """Start a cluster in `directory`, and remove it at the end of the block.

    Args:
        directory: for data, logs, volumes and credentials.
        nodes: 1 or 2.
        images: names of `tests.cluster.images` to build and load.
        options: as for `ControlPlane.start`, local processes only; `kubernetes` is `oldest` unless given,
            because newer kubelets refuse version 1 control groups.

    Raises:
        ClusterError: something is missing, died, or was not ready in time.
    """
    directory = directory.resolve()
    shutil.rmtree(directory / "volumes", ignore_errors=True)
    if kind.available():
        with kind.start(directory, nodes, images) as cluster:
            yield cluster
        return
    install_packages()
    built = build_images([PAUSE_IMAGE, *images])
    names = [node_name(number) for number in range(1, nodes + 1)]
    with ExitStack() as stack:
        machine = stack.enter_context(Machine.start(directory / "machine"))
        chosen = {"kubernetes": "oldest", "audit": True} | options
        started = ControlPlane.start(directory, address=machine.address, scheduler=True, nodes=tuple(names), **chosen)
        plane = stack.enter_context(started)
        programs = [kube_proxy(machine, plane), coredns(machine, plane)]
        for number in range(1, nodes + 1):
            runtime = stack.enter_context(Containerd.start(machine, directory, number))
            load_images(built, runtime)
            programs.append(kubelet(machine, plane, runtime.socket, number))
        cluster = Cluster(plane.kubeconfig, directory, names, plane.options.kubernetes, plane)
        cluster.add_storage()
        cluster.apply(*dns_objects(machine))
        _start_all(programs)
        cluster.wait_nodes()
        yield cluster


def _start_all(programs: list[Process]) -> None:
    for program in programs:
        program.launch()
    for program in programs:
        program.wait_ready()
