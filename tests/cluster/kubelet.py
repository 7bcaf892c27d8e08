"""One node's kubelet: its configuration and its process; knows no container runtime but by its socket."""

from pathlib import Path
from typing import Any

import yaml

from tests.cluster.binaries import binary
from tests.cluster.control_plane import ControlPlane
from tests.cluster.machine import Machine
from tests.cluster.process import Process
from tests.cluster.waiting import answers

CLUSTER_DNS = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"


def node_name(node: int) -> str:
    """Return the name of a node, counted from 1."""
    return f"node-{node}"


def kubelet(machine: Machine, plane: ControlPlane, socket: str, node: int) -> Process:
    """Return the kubelet of a node, not yet started; several share the machine's address on own ports."""
    own = plane.directory / f"kubelet-{node}"
    own.mkdir(parents=True, exist_ok=True)
    health = 10300 + node
    config = own / "config.yaml"
    config.write_text(yaml.safe_dump(_configuration(machine, plane, socket, node, health, own)))
    name = node_name(node)
    command = [
        binary("kubelet", plane.options.kubernetes),
        f"--config={config}",
        f"--kubeconfig={plane.credentials.kubeconfig(f'system:node:{name}', plane.url)}",
        f"--root-dir={own / 'root'}",
        f"--cert-dir={own / 'pki'}",
        f"--hostname-override={name}",
        f"--node-ip={machine.node_address}",  # without an address neither logs nor the pod proxy work
    ]
    url = f"http://{machine.node_address}:{health}/healthz"
    return machine.process(f"kubelet-{node}", command, lambda: answers(url))


def _configuration(
    machine: Machine, plane: ControlPlane, socket: str, node: int, health: int, own: Path
) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{socket}",
        "address": machine.node_address,
        "port": 10250 + node,
        "healthzBindAddress": machine.node_address,
        "healthzPort": health,
        "podLogsDir": str(own / "pods"),
        "clusterDNS": [CLUSTER_DNS],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": "",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(plane.ca_file)},
        },
        "authorization": {"mode": "AlwaysAllow"},  # only the API server has a certificate of our authority
        # The host may keep version 1 control groups, lend no swap control and no score below its own.
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
        "failSwapOn": False,
        "failCgroupV1": False,
        "oomScoreAdj": 0,
        # A full disk of the developer's is no reason to evict pods or to delete the images that we loaded.
        "evictionHard": {"nodefs.available": "0%", "imagefs.available": "0%", "memory.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "shutdownGracePeriod": "0s",
        "nodeLeaseDurationSeconds": 20,  # a sign of life every 5 s: nodes are taken for lost after 20 s in some tests
        "serializeImagePulls": False,
    }
