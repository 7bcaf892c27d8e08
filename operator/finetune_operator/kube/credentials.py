"""How to reach and convince an API server: a pod's own service account, or a kubeconfig; sends no request.

Tokens are read again from time to time, since kubelets and login programs rotate them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from ..errors import CredentialsError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REREAD_SECONDS = 60.0
_LOGIN_SECONDS = 60


@dataclass
class Credentials:
    """A server and what it asks for. Certificates are files, so that every library can use them."""

    server: str
    inside: bool
    """In a pod of this cluster: other pods' addresses can be reached."""
    ca_file: str | None = None
    insecure: bool = False
    client_certificate: str | None = None
    client_key: str | None = None
    token_file: Path | None = None
    static_token: str | None = None
    login: dict[str, Any] | None = None
    """The `exec` part of a kubeconfig's user: a program that prints a token."""
    _token: str | None = None
    _valid_until: float = field(default=0.0)

    def ssl_context(self) -> ssl.SSLContext:
        """The context for requests to the server."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_certificate:
            context.load_cert_chain(self.client_certificate, self.client_key)
        return context

    def refused(self) -> None:
        """The server did not take the token: the next one is got anew."""
        self._valid_until = 0.0

    async def token(self) -> str | None:
        """The bearer token that is valid now, or None where certificates do. Raises CredentialsError."""
        if self.static_token is not None or (self.token_file is None and self.login is None):
            return self.static_token
        if time.monotonic() >= self._valid_until:
            if self.token_file is not None:
                self._token = self.token_file.read_text().strip()
                self._valid_until = time.monotonic() + REREAD_SECONDS
            elif self.login is not None:
                self._token, seconds = await _log_in(self.login)
                self._valid_until = time.monotonic() + seconds
        return self._token


def find(kubeconfig: Path | None = None) -> Credentials:
    """The credentials of this process: the file that is named, the pod's own, KUBECONFIG, ~/.kube/config.

    Raises CredentialsError with what was tried.
    """
    if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ and (ACCOUNT / "token").exists():
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        host = f"[{host}]" if ":" in host else host
        return Credentials(
            f"https://{host}:{port}", inside=True, ca_file=str(ACCOUNT / "ca.crt"), token_file=ACCOUNT / "token"
        )
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    path = kubeconfig or Path(named or "~/.kube/config").expanduser()
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise CredentialsError(
            f"no cluster to talk to: there is no service account at {ACCOUNT}, and {path} cannot be read "
            f"({error.strerror}); set FINETUNE_KUBECONFIG or KUBECONFIG to a kubeconfig"
        ) from None
    return _from_kubeconfig(document, path)


def _from_kubeconfig(document: dict[str, Any], path: Path) -> Credentials:
    try:
        context = _named(document, "contexts", document["current-context"])["context"]
        cluster = _named(document, "clusters", context["cluster"])["cluster"]
        user = _named(document, "users", context["user"])["user"] or {}
        server = cluster["server"].rstrip("/")
    except (KeyError, TypeError, StopIteration) as error:
        raise CredentialsError(
            f"{path}: the current context does not lead to a cluster and a user ({error!r}); choose one with "
            "`kubectl config use-context`"
        ) from None
    file = _Files(path.parent)
    token_file = user.get("tokenFile")
    return Credentials(
        server,
        inside=False,
        ca_file=file.of(cluster, "certificate-authority"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        client_certificate=file.of(user, "client-certificate"),
        client_key=file.of(user, "client-key"),
        token_file=Path(path.parent, token_file) if token_file else None,
        static_token=user.get("token"),
        login=user.get("exec"),
    )


def _named(document: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in document[kind] if item["name"] == name)
    return found


@dataclass
class _Files:
    """Finds certificates that a kubeconfig names by file or carries as data."""

    directory: Path

    def of(self, part: dict[str, Any], name: str) -> str | None:
        if data := part.get(f"{name}-data"):
            # Libraries load client certificates from files only; readable by this user alone.
            descriptor, path = tempfile.mkstemp(prefix="finetune-", suffix=".pem")
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(base64.b64decode(data))
            return path
        return str(self.directory / part[name]) if name in part else None


async def _log_in(program: dict[str, Any]) -> tuple[str, float]:
    """Runs a kubeconfig's login program. Returns the token and for how many seconds it is good."""
    environment = {**os.environ, **{entry["name"]: entry["value"] for entry in program.get("env") or ()}}
    asked = {"apiVersion": program["apiVersion"], "kind": "ExecCredential", "spec": {"interactive": False}}
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(asked)
    try:
        process = await asyncio.create_subprocess_exec(
            program["command"], *(program.get("args") or ()), env=environment, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(_LOGIN_SECONDS):
            output, _ = await process.communicate()
        status = json.loads(output)["status"]
        token: str = status["token"]
    except (OSError, TimeoutError, ValueError, KeyError) as error:
        raise CredentialsError(
            f"the kubeconfig's login program {program['command']} gave no token: {error!r}"
        ) from None
    return token, _seconds_left(status.get("expirationTimestamp"), time.time)


def _seconds_left(expires: str | None, clock: Callable[[], float]) -> float:
    if expires is None:
        return float("inf")
    return max(1.0, datetime.fromisoformat(expires).timestamp() - clock() - 30.0)
