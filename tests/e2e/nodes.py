"""The two nodes of the end-to-end cluster, and what tests do to them; knows no jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.cluster import Cluster


def calm_node(cluster: Cluster) -> str:
    """The node that nothing happens to; the operator runs here."""
    return cluster.node_names[0]


def troubled_node(cluster: Cluster) -> str:
    """The node that tests drain and silence."""
    return cluster.node_names[-1]


@contextmanager
def drained(cluster: Cluster, node: str) -> Iterator[None]:
    """`kubectl drain`, which waits until the pods are gone; the node takes pods again after the block."""
    flags = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
    try:
        cluster.kubectl("drain", node, *flags)
        yield
    finally:
        cluster.kubectl("uncordon", node)


@contextmanager
def silent(cluster: Cluster, node: str) -> Iterator[None]:
    """Kill a node's kubelet, so that nothing is heard of the node and its containers are left to themselves."""
    kubelet = cluster.kubelets.get(node)
    if kubelet is None:
        pytest.skip("kubelets are killed where they are processes of this machine, not on kind")
    kubelet.kill()
    try:
        yield
    finally:
        kubelet.start()
        cluster.kubectl("wait", "--for=condition=Ready", f"node/{node}", "--timeout=60s")
