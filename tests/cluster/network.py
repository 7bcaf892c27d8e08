"""What makes Services and their names work on the nodes: kube-proxy and CoreDNS; no pod network."""

from pathlib import Path
from typing import Any

import yaml

from tests.cluster.binaries import binary
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubelet import CLUSTER_DNS, CLUSTER_DOMAIN, node_name
from tests.cluster.machine import Machine
from tests.cluster.process import Process
from tests.cluster.waiting import answers

_PROXY_HEALTH = 10256
_DNS_HEALTH = 8181

_COREFILE = """\
.:53 {{
    bind {address}
    errors
    ready {address}:{health}
    kubernetes {domain} in-addr.arpa {{
        kubeconfig {kubeconfig} test
        ttl 1
    }}
}}
"""


def kube_proxy(machine: Machine, plane: ControlPlane) -> Process:
    """Return the one kube-proxy of the machine, not yet started: its nodes share a network namespace."""
    config = plane.directory / "kube-proxy.yaml"
    settings = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": node_name(1),
        "clusterCIDR": machine.pod_range,
        "healthzBindAddress": f"{machine.node_address}:{_PROXY_HEALTH}",
        "metricsBindAddress": f"{machine.node_address}:{_PROXY_HEALTH - 7}",
        # The limits belong to the host's network namespace and cannot be written from ours.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "clientConnection": {"kubeconfig": str(plane.credentials.kubeconfig("system:kube-proxy", plane.url))},
    }
    config.write_text(yaml.safe_dump(settings))
    command = [binary("kube-proxy", plane.options.kubernetes), f"--config={config}"]
    url = f"http://{machine.node_address}:{_PROXY_HEALTH}/healthz"
    return machine.process("kube-proxy", command, lambda: answers(url))


def coredns(machine: Machine, plane: ControlPlane) -> Process:
    """Return CoreDNS on the nodes' address, not yet started; `dns_objects` lead pods to it."""
    corefile = plane.directory / "Corefile"
    corefile.write_text(
        _COREFILE.format(
            address=machine.node_address,
            health=_DNS_HEALTH,
            domain=CLUSTER_DOMAIN,
            kubeconfig=plane.credentials.kubeconfig("system:coredns", plane.url),
        )
    )
    url = f"http://{machine.node_address}:{_DNS_HEALTH}/ready"
    return machine.process("coredns", [binary("coredns"), "-conf", Path(corefile)], lambda: answers(url))


def dns_objects(machine: Machine) -> list[dict[str, Any]]:
    """Return the Service `kube-dns`, its endpoints outside any pod, and CoreDNS's rights."""
    labels = {"kubernetes.io/service-name": "kube-dns"}
    metadata = {"name": "kube-dns", "namespace": "kube-system"}
    ports = [{"name": name, "port": 53, "protocol": name.upper()} for name in ("udp", "tcp")]
    reads = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces", "nodes"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    rbac = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"clusterIP": CLUSTER_DNS, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata | {"labels": labels},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [machine.node_address], "conditions": {"ready": True}}],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "coredns"},
            "rules": reads,
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "coredns"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "coredns"},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": "system:coredns"}],
        },
    ]
