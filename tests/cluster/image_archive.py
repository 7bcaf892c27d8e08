"""Writes an image of the builder's store as an archive, less the layers that its receiver has; loads nothing."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

# containerd reads the full name of an image here.
_NAME = "io.containerd.image.name"


@dataclass(frozen=True)
class Blob:
    """A part of an image.

    Attributes:
        digest: `sha256:...`.
        size: in bytes.
        read: opens the content, which the caller closes.
    """

    digest: str
    size: int
    read: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Archive:
    """An image as it is stored: layers first, then configuration and manifest."""

    manifest: Blob
    media_type: str
    blobs: list[Blob]

    def write(self, name: str, stored: set[str], stream: IO[bytes]) -> None:
        """Write an archive in the OCI layout.

        Args:
            name: that the receiver shall know the image by.
            stored: digests that the receiver has and that are left out.
            stream: where to.
        """
        index = {
            "schemaVersion": 2,
            "manifests": [
                {
                    "mediaType": self.media_type,
                    "digest": self.manifest.digest,
                    "size": self.manifest.size,
                    "annotations": {_NAME: name},
                }
            ],
        }
        with tarfile.open(fileobj=stream, mode="w|", copybufsize=1 << 20) as archive:
            _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
            for blob in self.blobs:
                if blob.digest not in stored:
                    entry = tarfile.TarInfo(f"blobs/{blob.digest.replace(':', '/')}")
                    entry.size = blob.size
                    with blob.read() as content:
                        archive.addfile(entry, content)
            _add(archive, "index.json", json.dumps(index).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
