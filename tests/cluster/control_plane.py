"""Starts etcd, an API server and a controller-manager as local processes, without root; runs no node."""

import json
import shutil
import ssl
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.binaries import binary
from tests.cluster.credentials import Credentials, make_credentials
from tests.cluster.errors import ClusterError
from tests.cluster.kubectl import kubectl
from tests.cluster.ports import Port
from tests.cluster.process import Process
from tests.cluster.waiting import until

SERVICE_RANGE = "10.96.0.0/16"
_FIRST_SERVICE = "10.96.0.1"
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
    """

    kubernetes: str = "newest"
    address: str = "127.0.0.1"
    audit: bool = False
    scheduler: bool = False
    nodes: tuple[str, ...] = ()
    crds: Path | None = None
    apiserver_flags: tuple[str, ...] = ()
    controller_manager_flags: tuple[str, ...] = ()


@dataclass
class ControlPlane:
    """A running control plane; make one with `ControlPlane.start`."""

    directory: Path
    options: Options
    credentials: Credentials
    url: str
    etcd: Process
    apiserver: Process
    controller_manager: Process
    scheduler: Process | None
    _ports: list[Port] = field(repr=False)

    @classmethod
    @contextmanager
    def start(cls, directory: Path, **options: Any) -> Iterator["ControlPlane"]:
        """Start a control plane in `directory`, and stop it at the end of the block.

        Args:
            directory: for data, logs and credentials; made if missing.
            options: the fields of `Options`.

        Raises:
            ClusterError: a program is missing, died, or was not ready in time.
        """
        plane = cls._prepare(directory, Options(**options))
        try:
            plane._start()
            yield plane
        finally:
            plane.stop()

    @classmethod
    def _prepare(cls, directory: Path, options: Options) -> "ControlPlane":
        directory = directory.resolve()
        for part in ("etcd", "logs"):  # an earlier cluster's data were signed with other keys
            shutil.rmtree(directory / part, ignore_errors=True)
        (directory / "logs").mkdir(parents=True)
        ports = [Port(), Port(), Port(options.address), Port(), Port()]
        client, peer, secure, manager, scheduler = ports
        names = ["127.0.0.1", "localhost", "kubernetes.default.svc", _FIRST_SERVICE, options.address]
        credentials = make_credentials(directory / "credentials", sorted(set(names)), list(options.nodes))
        url = f"https://{options.address}:{secure}"
        make = _Commands(directory, options, credentials, url)
        return cls(
            directory=directory,
            options=options,
            credentials=credentials,
            url=url,
            etcd=make.etcd(client, peer),
            apiserver=make.apiserver(client, secure),
            controller_manager=make.controller_manager(manager),
            scheduler=make.scheduler(scheduler) if options.scheduler else None,
            _ports=ports,
        )

    def _start(self) -> None:
        self.credentials.kubeconfig("admin", self.url)
        self.etcd.start()
        self.apiserver.start()
        if self.options.crds:
            self.kubectl("apply", "--server-side", "-f", str(self.options.crds))
            established = ("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
            # kubectl gives up at once on a CRD that has no conditions yet.
            until(lambda: "condition met" in self.kubectl(*established, check=False), "the CRDs to be served")
        self.controller_manager.start()
        if self.scheduler:
            self.scheduler.start()

    def stop(self) -> None:
        """End what runs, at once since nothing of it is kept, and give the ports back."""
        for process in (self.scheduler, self.controller_manager, self.apiserver, self.etcd):
            if process:
                process.kill()
        for port in self._ports:
            port.release()

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of a cluster administrator."""
        return self.credentials.kubeconfig("admin", self.url)

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return self.credentials.tokens["admin"]

    @property
    def ca_file(self) -> Path:
        """The certificate authority of the API server's certificate."""
        return self.credentials.ca_file

    @property
    def audit_log(self) -> Path:
        """The file of audit events, one JSON object a line; there when `audit` was asked for."""
        return self.directory / "logs" / "audit.jsonl"

    def audit_events(self, where: Callable[[dict[str, Any]], bool] = lambda event: True) -> list[dict[str, Any]]:
        """Return the finished requests so far, in order, of those that `where` accepts."""
        if not self.options.audit:
            raise ClusterError("this control plane keeps no audit log: start it with audit=True")
        lines = self.audit_log.read_text().splitlines() if self.audit_log.exists() else []
        return [event for event in map(json.loads, lines) if where(event)]

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl as administrator and return its output; errors as `tests.cluster.kubectl.kubectl`."""
        version = self.options.kubernetes
        return kubectl(self.kubeconfig, *arguments, kubernetes=version, stdin=stdin, check=check)

    def kubeconfig_for(self, namespace: str, service_account: str) -> Path:
        """Return a kubeconfig of a service account, so that a client runs with that account's RBAC only."""
        token = self.kubectl("create", "token", "-n", namespace, service_account, "--duration=24h").strip()
        return self.credentials.kubeconfig(f"{namespace}:{service_account}", self.url, token)


@dataclass
class _Commands:
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
        return Process(name, [program, *flags], log, ready=lambda: answers(health, self.credentials.ca_file))


def answers(url: str, ca_file: Path | None = None) -> bool:
    """Say whether a GET of the URL answers 200 within two seconds."""
    context = ssl.create_default_context(cafile=str(ca_file)) if url.startswith("https") else None
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
