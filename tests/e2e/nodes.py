"""The three nodes of the end-to-end cluster, and what tests do to them; knows no jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.cluster.cluster import Cluster

_TROUBLE = "trouble"


def calm_node(cluster: Cluster) -> str:
    """The node that nothing happens to; the operator runs here."""
    return cluster.node_names[0]


def troubled_node(cluster: Cluster) -> str:
    """The node that tests drain, and on which jobs are in one another's way."""
    return cluster.node_names[1]


def silent_node(cluster: Cluster) -> str:
    """The node whose kubelet a test kills."""
    return cluster.node_names[2]


def keep_others_away(cluster: Cluster) -> None:
    """Let only those pods onto the nodes of which tests make something bad that `expect_trouble_on` them."""
    for node in (troubled_node(cluster), silent_node(cluster)):
        cluster.kubectl("taint", "node", node, f"{_TROUBLE}={node}:NoSchedule")


def expect_trouble_on(node: str) -> list[dict[str, Any]]:
    """The tolerations of a pod that may come onto this node."""
    return [{"key": _TROUBLE, "operator": "Equal", "value": node, "effect": "NoSchedule"}]


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
