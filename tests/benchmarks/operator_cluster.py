"""Gives the operator's benchmarks a control plane whose pods kwok plays; creates no load and measures nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.binaries import binary
from tests.cluster.control_plane import ControlPlane
from tests.cluster.fixtures import CRDS
from tests.cluster.ports import Port
from tests.cluster.process import Process
from tests.cluster.waiting import answers, until

OPERATOR_NAMESPACE = "finetune-system"
OPERATOR_ACCOUNT = "finetune-operator"
OPERATOR_USER = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR_ACCOUNT}"
CLAIMS = ("models", "datasets", "results")
NODES = 10
_DEPLOY = Path(__file__).parents[2] / "deploy"
_STAGES = Path(__file__).with_name("operator_stages.yaml")


@dataclass
class BenchmarkCluster:
    """A control plane, scheduler, kwok and its nodes, as started by `benchmark_cluster`."""

    plane: ControlPlane
    kwok: Process
    audit_log: Path

    def pids(self) -> dict[str, int]:
        """Process id by component: everything that a job costs, apart from the operator."""
        plane = self.plane
        parts = [plane.etcd, plane.apiserver, plane.controller_manager, plane.scheduler, self.kwok]
        return {part.name: part.pid for part in parts if part}

    def new_namespace(self, name: str) -> str:
        """Make a namespace with the three claims that the benchmark's jobs use, bound to volumes."""
        self._apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
        self._apply([manifest for claim in CLAIMS for manifest in _volume(name, claim)])
        until(lambda: self._bound(name) == len(CLAIMS), "the claims to be bound")
        until(lambda: self.plane.kubectl("get", "-n", name, "serviceaccounts", "-o", "name"), "the service account")
        return name

    def operator_kubeconfig(self) -> Path:
        """Return a kubeconfig with the rights that deploy/ gives the operator and no others."""
        for name in ("namespace.yaml", "rbac.yaml"):
            self.plane.kubectl("apply", "--server-side", "-f", str(_DEPLOY / name))
        return self.plane.kubeconfig_for(OPERATOR_NAMESPACE, OPERATOR_ACCOUNT)

    def make_nodes(self) -> None:
        """Make the nodes and wait until kwok has brought them up."""
        self._apply([_node(number) for number in range(NODES)])
        self.plane.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")

    def _bound(self, namespace: str) -> int:
        phases = self.plane.kubectl("get", "-n", namespace, "pvc", "-o", "jsonpath={.items[*].status.phase}")
        return phases.split().count("Bound")

    def _apply(self, manifests: list[dict[str, Any]]) -> None:
        self.plane.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(manifests))


@contextmanager
def benchmark_cluster(directory: Path, kubernetes: str = "newest") -> Iterator[BenchmarkCluster]:
    """Start a control plane with a scheduler and ten kwok nodes; stop all of it at the end of the block.

    Only the operator's requests are audited: an audit of everything would be part of what is measured.
    """
    directory.mkdir(parents=True, exist_ok=True)
    audit_log = directory.resolve() / "operator-audit.jsonl"
    audit_log.unlink(missing_ok=True)
    policy = directory.resolve() / "operator-audit-policy.yaml"
    policy.write_text(yaml.safe_dump(_audit_policy()))
    flags = (
        f"--audit-policy-file={policy}",
        f"--audit-log-path={audit_log}",
        "--audit-log-mode=batch",
        "--disable-admission-plugins=TaintNodesByCondition",  # nobody would take the taint of a new node away
    )
    options: dict[str, Any] = {"kubernetes": kubernetes, "scheduler": True, "apiserver_flags": flags}
    options["gogc"] = 100  # as in any cluster
    with ControlPlane.start(directory, crds=CRDS, **options) as plane:
        port = Port()
        kwok = _kwok(plane, port)
        try:
            kwok.start()
            cluster = BenchmarkCluster(plane, kwok, audit_log)
            cluster.make_nodes()
            yield cluster
        finally:
            kwok.stop(patience=3)
            port.release()


def _kwok(plane: ControlPlane, port: Port) -> Process:
    command = [
        binary("kwok"),
        f"--kubeconfig={plane.kubeconfig}",
        f"--config={_STAGES}",
        "--manage-all-nodes=true",
        "--node-lease-duration-seconds=0",  # the control plane drains no silent nodes
        "--node-ip=127.0.0.1",
        "--cidr=127.20.0.0/16",  # whoever calls a pod reaches this machine only
        f"--server-address=127.0.0.1:{port}",
    ]
    log = plane.directory / "logs" / "kwok.log"
    return Process("kwok", command, log, ready=lambda: answers(f"http://127.0.0.1:{port}/healthz"))


def _audit_policy() -> dict[str, Any]:
    ours = {"level": "Metadata", "users": [OPERATOR_USER]}
    rules = [ours, {"level": "None"}]
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}


def _node(number: int) -> dict[str, Any]:
    name = f"kwok-{number}"
    room = {"cpu": "1000", "memory": "10000Gi", "pods": "10000", "nvidia.com/gpu": "1000"}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    metadata = _named(name) | {"labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": {"allocatable": room, "capacity": room}}


def _volume(namespace: str, claim: str) -> list[dict[str, Any]]:
    """A claim and the volume that is meant for it; nothing ever mounts it."""
    size, modes = {"storage": "1Ti"}, ["ReadWriteMany"]
    volume_spec = {
        "capacity": size,
        "accessModes": modes,
        "hostPath": {"path": "/nonexistent"},
        "claimRef": _named(claim, namespace),
        "storageClassName": "",
    }
    claim_spec = {"resources": {"requests": size}, "accessModes": modes, "storageClassName": ""}
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": _named(f"{namespace}-{claim}")}
    claimed = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": _named(claim, namespace)}
    return [volume | {"spec": volume_spec}, claimed | {"spec": claim_spec | {"volumeName": f"{namespace}-{claim}"}}]


def _named(name: str, namespace: str | None = None) -> dict[str, Any]:
    return {"name": name, "namespace": namespace} if namespace else {"name": name}
