"""Gives a second node the image store of the first by hard links: gigabytes in seconds; knows no running containerd."""

import shutil
import subprocess
from pathlib import Path

from tests.cluster.errors import ClusterError

# What containerd writes once and never changes: layers as they came, and layers unpacked (pods write into their own).
_BLOBS = "io.containerd.content.v1.content/blobs"
_CONTENT = (_BLOBS, "io.containerd.snapshotter.v1.overlayfs/snapshots")
_QUICKLY_IMPORTED = 500_000_000
_DATABASES = ("io.containerd.metadata.v1.bolt/meta.db", "io.containerd.snapshotter.v1.overlayfs/metadata.db")


def lacks_much(store: Path, other: Path) -> bool:
    """Say whether linking another store takes less time than importing what it has and this one has not.

    The other may be in use: what its containerd throws away meanwhile (layers of images that were replaced) counts for
    nothing.
    """
    here = {path.name for path in (store / _BLOBS / "sha256").glob("*")}
    missing = [path for path in (other / _BLOBS / "sha256").glob("*") if path.name not in here]
    return sum(_size(blob) for blob in missing) > _QUICKLY_IMPORTED


def _size(blob: Path) -> int:
    try:
        return blob.stat().st_size
    except FileNotFoundError:
        return 0


def clone(source: Path, target: Path) -> None:
    """Make `target` a store of its own with the content of `source`, on the same file system.

    Neither may be in use, and `source` may hold no container: what one had written would be shared.

    Raises:
        ClusterError: a part could not be linked; carries what `cp` said.
    """
    for part in target.glob("io.containerd.*"):
        shutil.rmtree(part)
    for part in _CONTENT:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        command = ["cp", "--archive", "--link", str(source / part), str(target / part)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ClusterError(f"the image store {source} could not be linked: {done.stderr.strip()[-1000:]}")
    for part in _DATABASES:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / part, target / part)
