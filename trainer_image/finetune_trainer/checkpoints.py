"""Complete checkpoints: the manifest that makes a directory one, its validation, rotation, and setting torn ones aside.

What is in the files is the recipes' and the libraries' business.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import xxhash
from pydantic import ValidationError

from finetune_api.trainer_contract import CheckpointInfo, CheckpointManifest, CheckpointState, ManifestFile

from .disk import sync_file
from .fencing import RunClaim
from .files import let_group_read, sync_directory, write_atomically
from .results import timestamp

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
KEPT_TORN = 2
"""How many torn checkpoints stay for a look at what happened to them; they are as large as whole ones."""
_TORN = ".torn"
_NAME = re.compile(r"step-(\d{8,})-r(\d+)")
_CHUNK = 8 * 1024 * 1024


@dataclass(frozen=True)
class Checkpoint:
    """A directory with a manifest."""

    path: Path
    manifest: CheckpointManifest

    @property
    def step(self) -> int:
        return self.manifest.step

    def info(self) -> CheckpointInfo:
        manifest = self.manifest
        return CheckpointInfo(
            step=manifest.step,
            time=manifest.created_at,
            bytes=sum(file.bytes for file in manifest.files),
            metric=manifest.metric,
            value=manifest.value,
            seconds=manifest.seconds,
        )


def directory_name(step: int, run: int) -> str:
    return f"step-{step:08d}-r{run}"


def commit(
    made: Path, place: Path, files: list[ManifestFile], claim: RunClaim, *, step: int, world_size: int,
    metric: str | None = None, value: float | None = None, seconds: float | None = None,
) -> Checkpoint:  # fmt: skip
    """Makes a directory of the claim's workspace, whose `files` are on the disk, a complete checkpoint at `place`.

    `seconds`: how long it took so far. Raises FencedOff or OSError.
    """
    for directory in (*(below for below in made.rglob("*") if below.is_dir()), made):
        sync_directory(directory)
    manifest = CheckpointManifest(
        step=step, run=claim.number, world_size=world_size, created_at=timestamp(),
        files=sorted(files, key=lambda file: file.path), metric=metric if value is not None else None, value=value,
        seconds=None if seconds is None else round(seconds, 3),
    )  # fmt: skip
    write_atomically(
        made / MANIFEST, manifest.model_dump_json(by_alias=True, exclude_none=True, indent=1), durable=True
    )
    claim.commit(made, place)
    return Checkpoint(place, manifest)


def sealed(directory: Path, heartbeat: Callable[[int], None] = lambda _: None) -> list[ManifestFile]:
    """Digests and sizes of all files below a directory, once they are on the disk and the group may read them."""
    found = []
    for file in sorted(file for file in directory.rglob("*") if file.is_file()):
        digest = digest_of(file, heartbeat)
        let_group_read(file)
        sync_file(file, heartbeat)
        found.append(ManifestFile(path=file.relative_to(directory).as_posix(), bytes=file.stat().st_size, xxh3=digest))
    return found


def digest_of(file: Path, heartbeat: Callable[[int], None] = lambda _: None) -> str:
    """128-bit xxh3 of the file's content, hexadecimal."""
    digest = xxhash.xxh3_128()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            heartbeat(len(chunk))
    return digest.hexdigest()


def complete(directory: Path) -> list[Checkpoint]:
    """The checkpoints that have a manifest and files of the right sizes, oldest first."""
    return [checkpoint for path in _candidates(directory) if (checkpoint := opened(path)) is not None]


def newest_valid(
    directory: Path, claim: RunClaim, warn: Callable[[str], None], heartbeat: Callable[[int], None] = lambda _: None
) -> Checkpoint | None:
    """The newest checkpoint whose sizes and digests are right. What is torn is renamed to `.torn` and reported.

    Raises OSError where a volume does not let itself be read at the moment: that says nothing about the checkpoint.
    """
    for path in reversed(_candidates(directory)):
        checkpoint = _sound(path)
        if checkpoint is None:
            reason = "it has no manifest, or files are missing or cut short"
        elif (wrong := _wrong_content(checkpoint, heartbeat)) is not None:
            reason = f"the content of {wrong} is not what was written"
        else:
            return checkpoint
        claim.set_aside(path, f"{path.name}{_TORN}")
        warn(f"Checkpoint {path.name} is torn ({reason}); it was set aside as {path.name}{_TORN}.")
        _forget_torn(directory, claim)
    return None


def _forget_torn(directory: Path, claim: RunClaim) -> None:
    """Deletes all but the newest torn checkpoints; one that cannot be deleted must not keep a run from continuing."""
    try:
        for older in _candidates(directory, _TORN)[:-KEPT_TORN]:
            claim.discard(older)
    except OSError as error:
        logger.warning("An old torn checkpoint could not be deleted: %s", error)


def state_of(directory: Path, *, greater_is_better: bool = False) -> CheckpointState:
    """What status shows of the complete checkpoints."""
    checkpoints = complete(directory)
    top = best(checkpoints, greater_is_better=greater_is_better)
    return CheckpointState(
        latest=checkpoints[-1].info() if checkpoints else None,
        best=top.info() if top else None,
        count=len(checkpoints),
    )


def best(checkpoints: list[Checkpoint], *, greater_is_better: bool) -> Checkpoint | None:
    """The checkpoint with the best value; the earliest of equals; None where none was measured."""
    measured = [(c.manifest.value, c) for c in checkpoints if c.manifest.value is not None]
    if not measured:
        return None
    return min(measured, key=lambda pair: (-pair[0] if greater_is_better else pair[0], pair[1].step))[1]


def rotate(directory: Path, claim: RunClaim, *, keep: int, keep_best: bool, greater_is_better: bool = False) -> None:
    """Deletes all but the newest `keep` checkpoints and, if asked for, the best one. Raises FencedOff."""
    checkpoints = complete(directory)
    kept = {checkpoint.path for checkpoint in checkpoints[-keep:]}
    top = best(checkpoints, greater_is_better=greater_is_better)
    if keep_best and top is not None:
        kept.add(top.path)
    for checkpoint in checkpoints:
        if checkpoint.path not in kept:
            claim.discard(checkpoint.path)


def _candidates(directory: Path, suffix: str = "") -> list[Path]:
    """Directories named like checkpoints and then `suffix`, by step and then by run."""
    if not directory.is_dir():
        return []
    found = (path for path in directory.iterdir() if path.name.endswith(suffix) and path.is_dir())
    named = [(match, path) for path in found if (match := _NAME.fullmatch(path.name.removesuffix(suffix)))]
    return [path for _, path in sorted(named, key=lambda pair: (int(pair[0][1]), int(pair[0][2])))]


def opened(path: Path) -> Checkpoint | None:
    """The checkpoint in a directory, where it has a manifest and files of the right sizes, and can be read."""
    try:
        return _sound(path)
    except OSError:
        return None


def _sound(path: Path) -> Checkpoint | None:
    try:
        manifest = CheckpointManifest.load((path / MANIFEST).read_bytes())
        sound = all((path / file.path).stat().st_size == file.bytes for file in manifest.files)
    except (FileNotFoundError, NotADirectoryError, ValueError, ValidationError):
        return None
    return Checkpoint(path, manifest) if sound else None


def _wrong_content(checkpoint: Checkpoint, heartbeat: Callable[[int], None]) -> str | None:
    for file in checkpoint.manifest.files:
        if digest_of(checkpoint.path / file.path, heartbeat) != file.xxh3:
            return file.path
    return None
