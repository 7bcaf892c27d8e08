"""Gets the base that the two images are built on: from a registry, or made from Debian where none answers."""

import subprocess
import tempfile
from pathlib import Path

from tests.cluster.builder import Builder
from tests.cluster.errors import ClusterError
from tests.cluster.namespaces import run

REGISTRY_BASE = "docker.io/library/python:3.12-slim-bookworm"
_DEBIAN_BASE = "localhost/finetune-base:bookworm"
_PULL_SECONDS = 120


def base_image(builder: Builder) -> str:
    """Return the name of an image with python3 and its venv module, in the builder's store.

    Raises:
        ClusterError: no registry answers and debootstrap fails; carries what it said.
    """
    for name in (REGISTRY_BASE, _DEBIAN_BASE):
        if builder.has(name):
            return name
    if _pull(builder):
        return REGISTRY_BASE
    _make_from_debian(builder)
    return _DEBIAN_BASE


def _pull(builder: Builder) -> bool:
    try:
        builder.run("pull", "--retry=0", REGISTRY_BASE, timeout=_PULL_SECONDS)
    except (ClusterError, subprocess.TimeoutExpired):
        return False
    return True


def _make_from_debian(builder: Builder) -> None:
    with tempfile.TemporaryDirectory(prefix="finetune-base-") as scratch:
        root = Path(scratch, "root")
        packages = "ca-certificates,python3,python3-venv"
        run("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", root)
        for leftover in ("var/cache/apt/archives", "var/lib/apt/lists"):
            run("find", root / leftover, "-type", "f", "-delete")
        archive = Path(scratch, "root.tar")
        run("tar", "--create", "--numeric-owner", "--file", archive, "--directory", root, ".")
        container = builder.run("from", "scratch").strip()
        builder.run("add", container, archive, "/")
        builder.run("commit", "--rm", container, _DEBIAN_BASE)
