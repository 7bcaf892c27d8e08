"""The command lines of the control plane's components; starts none of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster.binaries import binary
from tests.cluster.credentials import Credentials
from tests.cluster.ports import Port
from tests.cluster.process import Process
from tests.cluster.waiting import answers

SERVICE_RANGE = "10.96.0.0/16"
FIRST_SERVICE = "10.96.0.1"
# Without kubelets nobody renews a node's heartbeat: the nodes that tests play would be drained.
_NODE_CONTROLLERS = ("node-lifecycle-controller", "taint-eviction-controller")


@dataclass(frozen=True)
class Options:
    """How a control plane differs from the usual one.

    Attributes:
        kubernetes: `newest`, `oldest` or a version.
        address: where the API server listens.
        audit: write a line per request to `ControlPlane.audit_log`.
        scheduler: run kube-scheduler; without it tests bind pods themselves.
        nodes: names of nodes whose kubelets will log in; empty means that tests play the nodes.
        crds: manifests (a file or a directory) applied before the controller-manager starts, which so
            knows them from the start: its garbage collector looks for new kinds only every 30 s.
        apiserver_flags: appended to the API server's, controller_manager_flags likewise.
        gogc: by how many per cent memory may grow before a program collects its garbage. A sixth of the API server's
            time goes into that where Go's own 100 holds, and memory is not what tests are short of.
    """

    kubernetes: str = "newest"
    address: str = "127.0.0.1"
    audit: bool = False
    scheduler: bool = False
    nodes: tuple[str, ...] = ()
    crds: Path | None = None
    apiserver_flags: tuple[str, ...] = ()
    controller_manager_flags: tuple[str, ...] = ()
    gogc: int = 300


@dataclass
class Components:
    """The command lines, one method a component."""

    directory: Path
    options: Options
    credentials: Credentials
    url: str

    def etcd(self, client: Port, peer: Port) -> Process:
        url = f"http://127.0.0.1:{client}"
        peer_url = f"http://127.0.0.1:{peer}"
        flags = [
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=default={peer_url}",
            "--unsafe-no-fsync",  # a test cluster outlives no power cut
            "--quota-backend-bytes=4294967296",
            "--log-level=warn",
        ]
        return self._process("etcd", flags, f"{url}/health")

    def apiserver(self, etcd: Port, secure: Port) -> Process:
        certificate, key = self.credentials.certificate("apiserver")
        client_certificate, client_key = self.credentials.certificate("kubelet-client")
        flags = [
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            f"--bind-address={self.options.address}",
            f"--advertise-address={self.options.address}",
            f"--secure-port={secure}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.credentials.ca_file}",
            f"--token-auth-file={self.credentials.token_file}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",  # as OpenShift does
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.credentials.service_account_key}",
            f"--service-account-signing-key-file={self.credentials.service_account_key}",
            f"--kubelet-client-certificate={client_certificate}",
            f"--kubelet-client-key={client_key}",
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged=true",
            "--shutdown-delay-duration=0",
        ]
        if not self.options.nodes:  # a loopback address is refused as an endpoint of the Service `kubernetes`
            flags.append("--endpoint-reconciler-type=none")
        if self.options.audit:
            flags += [f"--audit-policy-file={self._audit_policy()}", f"--audit-log-path={self._audit_log()}"]
        return self._process("kube-apiserver", [*flags, *self.options.apiserver_flags], f"{self.url}/readyz")

    def controller_manager(self, secure: Port) -> Process:
        controllers = [] if self.options.nodes else [f"-{name}" for name in _NODE_CONTROLLERS]
        flags = [
            *self._component_flags("system:kube-controller-manager", secure),
            f"--controllers={','.join(['*', *controllers])}",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self.credentials.service_account_key}",
            f"--root-ca-file={self.credentials.ca_file}",
            "--concurrent-job-syncs=20",
            *self.options.controller_manager_flags,
        ]
        return self._process("kube-controller-manager", flags, f"https://127.0.0.1:{secure}/healthz")

    def scheduler(self, secure: Port) -> Process:
        flags = self._component_flags("system:kube-scheduler", secure)
        return self._process("kube-scheduler", flags, f"https://127.0.0.1:{secure}/healthz")

    def _component_flags(self, user: str, secure: Port) -> list[str]:
        certificate, key = self.credentials.certificate("apiserver")
        return [
            f"--kubeconfig={self.credentials.kubeconfig(user, self.url)}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={secure}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            "--kube-api-qps=2000",  # the usual limits are for sharing a cluster, and would slow every test
            "--kube-api-burst=4000",
        ]

    def _audit_log(self) -> Path:
        return self.directory / "logs" / "audit.jsonl"

    def _audit_policy(self) -> Path:
        path = self.directory / "audit-policy.yaml"
        policy = {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata"}],
        }
        path.write_text(yaml.safe_dump(policy))
        return path

    def _process(self, name: str, flags: Sequence[str], health: str) -> Process:
        program = binary(name, self.options.kubernetes)
        log = self.directory / "logs" / f"{name}.log"
        return Process(
            name,
            [program, *flags],
            log,
            ready=lambda: answers(health, self.credentials.ca_file),
            environment={"GOGC": str(self.options.gogc)},
        )
