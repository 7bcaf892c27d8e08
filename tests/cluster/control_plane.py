"""Starts etcd, an API server and a controller-manager as local processes, without root; runs no node."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.components import FIRST_SERVICE, Components, Options
from tests.cluster.credentials import Credentials, make_credentials
from tests.cluster.errors import ClusterError
from tests.cluster.kubectl import kubectl
from tests.cluster.ports import Port
from tests.cluster.process import Process
from tests.cluster.waiting import until


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
        names = ["127.0.0.1", "localhost", "kubernetes.default.svc", FIRST_SERVICE, options.address]
        credentials = make_credentials(directory / "credentials", sorted(set(names)), list(options.nodes))
        url = f"https://{options.address}:{secure}"
        make = Components(directory, options, credentials, url)
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
