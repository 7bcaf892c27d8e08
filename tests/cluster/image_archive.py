"""Takes out of an OCI image layout what a node lacks of one image, as an archive; builds and loads nothing."""

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_REFERENCE = "org.opencontainers.image.ref.name"
_NAME = "io.containerd.image.name"


@dataclass(frozen=True)
class Parts:
    """One image, less the blobs that its receiver has.

    Attributes:
        layout: the directory of the layout.
        index: the archive's index.json, which names the image.
        digests: of the blobs to send (`sha256:...`).
    """

    layout: Path
    index: dict[str, Any]
    digests: list[str]

    def write(self, stream: IO[bytes]) -> None:
        """Write the archive as a stream."""
        with tarfile.open(fileobj=stream, mode="w|") as archive:
            _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
            for digest in self.digests:
                archive.add(_blob(self.layout, digest), f"blobs/{digest.replace(':', '/')}")
            _add(archive, "index.json", json.dumps(self.index).encode())


def missing_parts(layout: Path, tag: str, name: str, stored: set[str]) -> Parts:
    """Return the image `tag` of the layout under the full `name`, less the blobs whose digests are `stored`."""
    descriptor = find(layout, tag)
    assert descriptor, f"the layout {layout} holds no {tag}"
    manifest = json.loads(_blob(layout, descriptor["digest"]).read_bytes())
    named = descriptor | {"annotations": {_NAME: name}}
    index = {"schemaVersion": 2, "manifests": [named]}
    blobs = [*(layer["digest"] for layer in manifest["layers"]), manifest["config"]["digest"], descriptor["digest"]]
    return Parts(layout, index, [digest for digest in blobs if digest not in stored])


def find(layout: Path, tag: str) -> dict[str, Any] | None:
    """Return the descriptor of a tag of the layout, None when it is not there."""
    index = layout / "index.json"
    entries = json.loads(index.read_bytes())["manifests"] if index.exists() else []
    matching = [one for one in entries if one.get("annotations", {}).get(_REFERENCE) == tag]
    return matching[0] if matching else None


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
