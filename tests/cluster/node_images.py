"""The images in one node's store: adds and drops them; builds none."""

import contextlib
import subprocess
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.image_archive import Archive
from tests.cluster.namespaces import Namespaces


class NodeImages:
    """The store of a node's containerd, counted from 1."""

    def __init__(self, inside: Namespaces, node: int) -> None:
        self._inside = inside
        self.socket = f"/run/containerd{node}/containerd.sock"

    def ctr(self, *arguments: str | Path) -> str:
        """Run containerd's own client in the namespace that Kubernetes uses."""
        return self._inside.run(*self._ctr(*arguments))

    def load(self, name: str, image: Archive) -> None:
        """Import an image under a name, sending only the blobs that the store has not.

        Raises:
            ClusterError: containerd did not take it; carries what it said.
        """
        try:
            self._import(name, image, set(self.ctr("content", "list", "--quiet").split()))
        except ClusterError:  # its collection of garbage may have taken what nothing named any more when it was asked
            self._import(name, image, set())

    def _import(self, name: str, image: Archive, stored: set[str]) -> None:
        command = self._inside.command(*self._ctr("images", "import", "-"))
        importing = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert importing.stdin
        with contextlib.suppress(BrokenPipeError):  # it gave up; its output says why
            image.write(name, stored, importing.stdin)
        said, _ = importing.communicate()
        if importing.returncode:
            raise ClusterError(f"containerd refused an image: {said.decode(errors='replace').strip()[-1000:]}")

    def drop_replaced(self, names: list[str]) -> None:
        """Delete every image that none of these names stands for any more, and the layers that only it has.

        Kubernetes's part of containerd names every image by its digest as well, which would keep the layers of
        each image that a newer one of the same name has replaced.
        """
        listed = [line.split() for line in self.ctr("images", "list").splitlines()[1:]]
        kept = {digest for name, _, digest, *_ in listed if name in names}
        unwanted = [name for name, _, digest, *_ in listed if digest not in kept]
        if unwanted:
            self.ctr("images", "remove", "--sync", *unwanted)

    def _ctr(self, *arguments: str | Path) -> list[str | Path]:
        return ["ctr", "--address", self.socket, "--namespace", "k8s.io", *arguments]
