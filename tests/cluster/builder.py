"""Builds images with buildah in a store of our own; knows neither which images nor what a cluster is."""

import hashlib
import io
import json
import subprocess
from functools import partial
from pathlib import Path
from typing import IO

from tests.cluster import versions
from tests.cluster.errors import ClusterError
from tests.cluster.image_archive import Archive, Blob
from tests.cluster.namespaces import run

_VERSIONS = 2


class Builder:
    """buildah with its store in the cache, so that nothing of the machine's own images is touched."""

    def __init__(self) -> None:
        self.directory = versions.cache_directory() / "images"
        self.directory.mkdir(parents=True, exist_ok=True)

    def run(self, *arguments: str | Path, timeout: float | None = None) -> str:
        """Run one buildah command and return its output.

        Raises:
            ClusterError: it failed; carries the end of what it said.
            subprocess.TimeoutExpired: it took more than `timeout` seconds.
        """
        command = [
            "buildah",
            f"--root={self.directory / 'store'}",
            f"--runroot={self.directory / 'run'}",
            "--storage-driver=overlay",
            *map(str, arguments),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        if done.returncode:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
            raise ClusterError(f"`buildah {arguments[0]}` failed; the last lines it said:\n{said}")
        return done.stdout

    def has(self, image: str) -> bool:
        """Say whether the store holds an image."""
        return bool(self.run("images", "--quiet", "--filter", f"reference={image}").strip())

    def build(self, name: str, dockerfile: Path, context: Path, arguments: dict[str, str]) -> None:
        """Build a Dockerfile; unchanged steps come from the store.

        uv's cache and the certificates of this machine are lent to the build, so that it downloads nothing
        twice and also works behind a proxy with its own authority.
        """
        lent = self._lent()
        flags = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        flags += [f"--volume={source}:{target}:{mode}" for source, target, mode in lent]
        self.run(
            "build",
            "--isolation=chroot",
            "--layers",
            *flags,
            f"--tag={name}",
            f"--file={dockerfile}",
            context,
        )

    def forget_old(self, repository: str) -> None:
        """Remove an image's older versions but one (another process may be loading that), and their layers.

        Layers that a later version shares stay, so that a change of code does not install everything anew. The
        caller sees to it that nobody builds meanwhile.
        """
        listed = self.run("images", "--format", "{{.Name}}:{{.Tag}}", "--filter", f"reference={repository}")
        old = listed.split()[_VERSIONS:]  # newest first
        if old:
            self.run("rm", "--all")  # what builds leave that were interrupted
            self.run("rmi", *old)
            self.run("rmi", "--prune")

    def _lent(self) -> list[tuple[Path, str, str]]:
        settings = self.directory / "uv.toml"
        settings.write_text("system-certs = true\n")
        pip = self.directory / "pip.conf"
        pip.write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")
        lent = [(settings, "/etc/uv/uv.toml", "ro"), (_uv_cache(), "/root/.cache/uv", "rw")]
        if Path("/etc/ssl/certs/ca-certificates.crt").exists():
            lent += [(pip, "/etc/pip.conf", "ro"), (Path("/etc/ssl/certs"), "/etc/ssl/certs", "ro")]
        return lent

    def archive(self, image: str) -> Archive:
        """Return a stored image, ready to be written for a node; its layers are read when they are."""
        (described,) = json.loads(self._storage("image", "--json", image))
        content = self._storage("get-image-data", image, "manifest").encode()
        manifest = json.loads(content)
        digest = manifest["config"]["digest"]
        configuration = self._storage("get-image-data", image, digest).encode()
        whole = _in_memory(content)
        layers = zip(manifest["layers"], self._layers(described["layer"]), strict=True)
        blobs = [Blob(layer["digest"], layer["size"], partial(self._diff, number)) for layer, number in layers]
        return Archive(whole, manifest["mediaType"], [*blobs, _in_memory(configuration), whole])

    def _layers(self, top: str) -> list[str]:
        """Return the numbers of an image's layers, lowest first."""
        parents = {layer["id"]: layer.get("parent") for layer in json.loads(self._storage("layers", "--json"))}
        chain = [top]
        while parent := parents[chain[-1]]:
            chain.append(parent)
        return chain[::-1]

    def _diff(self, layer: str) -> IO[bytes]:
        command = [*self._storage_command(), "diff", "--uncompressed", layer]
        reading = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert reading.stdout
        return reading.stdout

    def _storage(self, command: str, *arguments: str) -> str:
        return run(*self._storage_command(), command, *arguments)

    def _storage_command(self) -> list[str]:
        graph, state = self.directory / "store", self.directory / "run"
        return ["containers-storage", f"--graph={graph}", f"--run={state}", "--storage-driver=overlay"]


def _in_memory(content: bytes) -> Blob:
    return Blob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), lambda: io.BytesIO(content))


def _uv_cache() -> Path:
    answer = subprocess.run(["uv", "cache", "dir"], check=True, capture_output=True, text=True)
    path = Path(answer.stdout.strip())
    path.mkdir(parents=True, exist_ok=True)
    return path
