"""Makes the cluster's own certificates, keys, tokens and kubeconfigs; knows no running component."""

import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import trustme
import yaml

# Users of the static token file: name -> groups. The names are those that the API server's own RBAC knows.
_USERS = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:kube-proxy": "",
    "system:coredns": "",
}


@dataclass(frozen=True)
class Credentials:
    """The files of one cluster's identity; all of them in `directory`, readable by the owner only."""

    directory: Path
    tokens: dict[str, str] = field(repr=False)

    @property
    def ca_file(self) -> Path:
        """The certificate authority that signed everything here."""
        return self.directory / "ca.crt"

    @property
    def token_file(self) -> Path:
        """The API server's static tokens."""
        return self.directory / "tokens.csv"

    @property
    def service_account_key(self) -> Path:
        """The private key that signs service account tokens."""
        return self.directory / "service-account.key"

    def certificate(self, name: str) -> tuple[Path, Path]:
        """Return certificate and key of `apiserver` or `kubelet-client`."""
        return self.directory / f"{name}.crt", self.directory / f"{name}.key"

    def kubeconfig(self, user: str, server: str, token: str | None = None) -> Path:
        """Write a kubeconfig for a user of the token file, or for any bearer of `token`, and return its path."""
        path = self.directory / f"{user.replace(':', '-').replace('/', '-')}.kubeconfig"
        cluster = {"server": server, "certificate-authority": str(self.ca_file)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token or self.tokens[user]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }
        _write(path, yaml.safe_dump(config, sort_keys=False).encode())
        return path


def make_credentials(directory: Path, addresses: list[str], nodes: list[str]) -> Credentials:
    """Make a new identity.

    Args:
        directory: made if missing; what lies there from an earlier cluster is replaced.
        addresses: names and addresses under which the API server is reached.
        nodes: names of the nodes whose kubelets will log in.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    authority = trustme.CA(organization_name="finetune test cluster")
    _write(directory / "ca.crt", authority.cert_pem.bytes())
    server = authority.issue_cert(*addresses, common_name="kube-apiserver")
    _write_pair(directory / "apiserver", server)
    client = authority.issue_cert("kube-apiserver.client", common_name="kube-apiserver")
    _write_pair(directory / "kubelet-client", client)
    signer = authority.issue_cert("service.account", key_type=trustme.KeyType.RSA)
    _write(directory / "service-account.key", signer.private_key_pem.bytes())
    users = _USERS | {f"system:node:{node}": "system:nodes" for node in nodes}
    tokens = {user: secrets.token_urlsafe(24) for user in users}
    rows = [f'{tokens[user]},{user},{user},"{groups}"' for user, groups in users.items()]
    _write(directory / "tokens.csv", ("\n".join(rows) + "\n").encode())
    return Credentials(directory, tokens)


def _write_pair(stem: Path, pair: trustme.LeafCert) -> None:
    _write(stem.with_suffix(".crt"), b"".join(pem.bytes() for pem in pair.cert_chain_pems))
    _write(stem.with_suffix(".key"), pair.private_key_pem.bytes())


def _write(path: Path, content: bytes) -> None:
    """Put the file there whole: somebody may be reading the one before."""
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # readable by the owner only
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(name).replace(path)
