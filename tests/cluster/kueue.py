"""Runs a real Kueue beside a control plane, from a release that somebody has; makes no program and plays nothing.

`FINETUNE_KUEUE` names a directory with two files of one release: `manifests.yaml`, and `manager`, the program of its
image. The manager runs as a local process with the rights of its own service account. What a kubelet and a cluster
network do for it is done here: its certificates are written where it reads them, and its webhooks' Service leads to
this machine.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import releases
from tests.cluster.control_plane import ControlPlane
from tests.cluster.ports import Port
from tests.cluster.process import Process
from tests.cluster.waiting import answers, until

_NAMESPACE = "kueue-system"
_SECRET = "kueue-webhook-server-cert"
# Nothing here runs pods in kueue-system, and nothing serves the aggregated API that shows pending workloads.
_NOT_RUN = ("Deployment", "APIService", "Service", "ConfigMap")


def release() -> Path | None:
    """The directory of the release that tests are to use; None when there is none. Raises MissingToolError."""
    whence = "a release's manifests.yaml there and `manager` out of its image"
    return releases.release("FINETUNE_KUEUE", ("manager", "manifests.yaml"), whence)


@contextmanager
def kueue_beside(plane: ControlPlane, directory: Path) -> Iterator[Process]:
    """Install a release and run its manager, as configured by default, until the end of the block."""
    webhook, health = Port(), Port()
    documents = [one for one in yaml.safe_load_all((directory / "manifests.yaml").read_text()) if one]
    home = plane.directory / "kueue"
    certificates = home / "certificates"
    certificates.mkdir(parents=True, exist_ok=True)
    hooks = [one for one in documents if one["kind"].endswith("WebhookConfiguration")]
    installed = [_reached(one, webhook) for one in documents if one["kind"] not in _NOT_RUN and one not in hooks]
    _apply(plane, [*installed, _service(webhook)])
    configuration = home / "configuration.yaml"
    configuration.write_text(yaml.safe_dump(_configuration(documents, webhook, health, certificates)))
    command = [directory / "manager", f"--config={configuration}", "--zap-log-level=2"]
    account = plane.kubeconfig_for(_NAMESPACE, "kueue-controller-manager")
    process = Process(
        "kueue",
        command,
        plane.directory / "logs" / "kueue.log",
        ready=lambda: answers(f"http://127.0.0.1:{health}/readyz"),
        environment={"KUBECONFIG": str(account)},
    )
    _apply(plane, [_reached(one, webhook) for one in hooks])
    try:
        process.launch()
        until(lambda: _hand_over(plane, certificates), "Kueue's certificates", timeout=60)
        process.wait_ready()
        yield process
    finally:
        process.stop()
        names = [f"{one['kind'].lower()}/{one['metadata']['name']}" for one in hooks]
        plane.kubectl("delete", "--ignore-not-found", *names, check=False)  # they refuse every Job without it
        webhook.release()
        health.release()


def _apply(plane: ControlPlane, documents: list[dict[str, Any]]) -> None:
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(documents))


def _reached(document: dict[str, Any], port: Port) -> dict[str, Any]:
    """The document with the port of each webhook in it."""
    spec = document.get("spec") or {}
    conversion = ((spec.get("conversion") or {}).get("webhook") or {}).get("clientConfig")
    configurations = [hook["clientConfig"] for hook in document.get("webhooks") or ()]
    for configuration in (*configurations, *([conversion] if conversion else ())):
        configuration["service"]["port"] = int(str(port))
    return document


def _service(port: Port) -> dict[str, Any]:
    """The webhooks' Service, by whose name their certificate is checked."""
    metadata = {"name": "kueue-webhook-service", "namespace": _NAMESPACE}
    ports = [{"port": int(str(port)), "protocol": "TCP"}]
    spec = {"type": "ExternalName", "externalName": "localhost", "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _configuration(documents: list[dict[str, Any]], webhook: Port, health: Port, certificates: Path) -> dict[str, Any]:
    """The release's own, on loopback."""
    (packed,) = (one for one in documents if one["kind"] == "ConfigMap")
    configuration: dict[str, Any] = yaml.safe_load(packed["data"]["controller_manager_config.yaml"])
    return configuration | {
        "namespace": _NAMESPACE,
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": int(str(webhook)), "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "featureGates": {"VisibilityOnDemand": False},  # it would listen on every address
    }


def _hand_over(plane: ControlPlane, directory: Path) -> bool:
    """Write the Secret's files, as a kubelet mounts them, once Kueue has filled it."""
    said = plane.kubectl("get", "secret", _SECRET, "-n", _NAMESPACE, "-o", "jsonpath={.data}", check=False)
    files = yaml.safe_load(said) if said.startswith("{") else None
    if not files or "tls.crt" not in files:
        return False
    for name, content in files.items():
        (directory / name).write_bytes(base64.b64decode(content))
    return True
