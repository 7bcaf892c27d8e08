"""Builds one program from its Go module; knows nothing of caches or of other ways to get it."""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from tests.cluster.errors import MissingToolError

_MODULES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "coredns": "github.com/coredns/coredns",
    "kwok": "sigs.k8s.io/kwok",
}
_PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "coredns": "github.com/coredns/coredns",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
}
_KUBERNETES = "k8s.io/kubernetes"
_STAGING = re.compile(r"^\s*(?:replace\s+)?(k8s\.io/\S+) => \./staging/", re.MULTILINE)
_BACKGROUND = 5  # a build lasts minutes on two cores and should leave the machine usable


def build(go: str, name: str, version: str, target: Path) -> None:
    """Build the program `name` at `version` into the file `target`.

    A module that requires the program's is made on the spot, because `go install` refuses modules that
    replace others, as those of Kubernetes and etcd do.

    Raises:
        MissingToolError: the module cannot be fetched or does not compile; ends with what Go said.
    """
    module = _MODULES.get(name, _KUBERNETES)
    package = _PACKAGES.get(name, f"{_KUBERNETES}/cmd/{name}")
    with tempfile.TemporaryDirectory(prefix="finetune-build-") as scratch:
        source = Path(scratch)
        requirement = json.loads(_go(go, source, "mod", "download", "-json", f"{module}@v{version}"))
        (source / "go.mod").write_text(_go_mod(module, version, Path(requirement["GoMod"]).read_text()))
        (source / "program.go").write_text(f'package program\n\nimport _ "{package}"\n')
        _go(go, source, "build", "-trimpath", "-ldflags", _ldflags(name, version), "-o", str(target), package)


def _go_mod(module: str, version: str, original: str) -> str:
    """Return a go.mod that requires the module and puts published versions for its staging directories."""
    language = re.search(r"^go \S+$", original, re.MULTILINE)
    lines = ["module program", language.group(0) if language else "", f"require {module} v{version}"]
    if module == _KUBERNETES:  # 1.36.3 is published as k8s.io/api 0.36.3 and so on
        staging = "v0." + version.split(".", 1)[1]
        lines += [f"replace {name} => {name} {staging}" for name in sorted(set(_STAGING.findall(original)))]
    return "\n".join(lines) + "\n"


def _ldflags(name: str, version: str) -> str:
    flags = ["-s", "-w"]
    if name not in _MODULES:
        major, minor, _ = version.split(".", 2)
        stamps = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
        flags += [f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamps.items()]
    return " ".join(flags)


def _go(go: str, directory: Path, *arguments: str) -> str:
    environment = os.environ | {"GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    environment.setdefault("GOTOOLCHAIN", "auto")  # an older Go fetches the one that a module asks for
    done = subprocess.run(
        ["nice", "-n", str(_BACKGROUND), go, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).splitlines()[-15:])
        raise MissingToolError(f"`go {' '.join(arguments)}` failed; the last lines it said:\n{said}")
    return done.stdout
