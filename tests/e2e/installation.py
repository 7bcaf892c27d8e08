"""Installs the operator as its users do, with kubectl and an overlay over deploy/; builds no image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from tests.cluster.cluster import Cluster
from tests.cluster.containers import freeze, processes
from tests.cluster.waiting import until
from tests.e2e.nodes import calm_node

REPOSITORY = Path(__file__).parents[2]
NAMESPACE = "finetune-system"
DEPLOYMENT = "finetune-operator"
PODS = "app.kubernetes.io/name=finetune-operator"


def install(cluster: Cluster, overlay: Path, *, operator_image: str, trainer_image: str) -> None:
    """Apply the CRDs and deploy/ with these images, and wait until the operator is ready.

    Args:
        overlay: an empty directory for the kustomization.
    """
    cluster.kubectl("apply", "-f", str(REPOSITORY / "crds"))
    patch = _patch(trainer_image, calm_node(cluster))
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(_kustomization(overlay, operator_image, patch)))
    cluster.kubectl("apply", "-k", str(overlay))
    _wait_ready(cluster)


def kill_operator(cluster: Cluster) -> None:
    """Take every operator pod away without a last word, and wait until others are ready."""
    before = _pods(cluster)
    cluster.kubectl("delete", *sorted(before), "-n", NAMESPACE, "--grace-period=0", "--force")
    until(lambda: _pods(cluster) - before, "another operator pod", timeout=60)
    _wait_ready(cluster)


@contextmanager
def replicas(cluster: Cluster, number: int) -> Iterator[None]:
    """Run so many replicas of the operator, all of them ready, for the length of the block."""
    _scale(cluster, number)
    try:
        yield
    finally:
        _scale(cluster, 1)


def _scale(cluster: Cluster, number: int) -> None:
    cluster.kubectl("scale", "-n", NAMESPACE, f"deployment/{DEPLOYMENT}", f"--replicas={number}")
    _wait_ready(cluster)


def leader(cluster: Cluster) -> str:
    """The name of the pod that holds the Lease; empty where it was given back."""
    holder = ("-o", "jsonpath={.spec.holderIdentity}")
    return cluster.kubectl("get", "lease", "-n", NAMESPACE, DEPLOYMENT, *holder)


def silence(cluster: Cluster, api: client.ApiClient, name: str) -> None:
    """End an operator pod without a last word: it is frozen first, so that it cannot give its Lease back."""
    freeze(processes(client.CoreV1Api(api).read_namespaced_pod(name, NAMESPACE)))
    cluster.kubectl("delete", "pod", name, "-n", NAMESPACE, "--grace-period=0", "--force")


def _pods(cluster: Cluster) -> set[str]:
    return set(cluster.kubectl("get", "pods", "-n", NAMESPACE, "-l", PODS, "-o", "name").split())


def _wait_ready(cluster: Cluster) -> None:
    cluster.kubectl("rollout", "status", "-n", NAMESPACE, f"deployment/{DEPLOYMENT}", "--timeout=120s")


def _patch(trainer_image: str, node: str) -> dict[str, Any]:
    """What this cluster's administrator changes about the Deployment; a second replica is there for outages alone."""
    settings = {
        "FINETUNE_TRAINER_IMAGE": trainer_image,
        "FINETUNE_PLATFORM__CPU_WITHOUT_GPU": "1",  # leaves room for the operator on a node of two cores
    }
    container = {
        "name": "operator",
        "env": [{"name": key, "value": value} for key, value in settings.items()],
        "readinessProbe": {"periodSeconds": 1},  # asked every ten seconds otherwise, while a test waits
    }
    pod = {"containers": [container], "nodeSelector": {"kubernetes.io/hostname": node}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": DEPLOYMENT, "namespace": NAMESPACE},
        "spec": {"replicas": 1, "template": {"spec": pod}},
    }


def _kustomization(overlay: Path, operator_image: str, patch: dict[str, Any]) -> dict[str, Any]:
    name, tag = operator_image.rsplit(":", 1)
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath((REPOSITORY / "deploy").resolve(), overlay.resolve())],
        "images": [{"name": "finetune-operator", "newName": name, "newTag": tag}],
        "patches": [{"patch": yaml.safe_dump(patch)}],
    }
