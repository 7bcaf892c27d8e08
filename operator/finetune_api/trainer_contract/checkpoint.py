"""Checkpoints: the manifest that makes a directory one, and what is said of those that are there."""

from __future__ import annotations

from .message import CONTRACT_VERSION, ContractModel


class CheckpointInfo(ContractModel):
    """A complete checkpoint, as status shows it."""

    step: int
    time: str | None = None
    """RFC 3339, UTC."""
    bytes: int | None = None
    metric: str | None = None
    value: float | None = None
    seconds: float | None = None
    """How long it took until it was complete."""


class CheckpointState(ContractModel):
    """The complete checkpoints of a run directory."""

    latest: CheckpointInfo | None = None
    best: CheckpointInfo | None = None
    count: int = 0


class Saves(ContractModel):
    """The saving of this run, added up."""

    written: int = 0
    """Checkpoints that were completed."""
    failed: int = 0
    """Checkpoints that could not be written; training went on."""
    bytes: int = 0
    """Of those completed."""
    seconds: float = 0.0
    """From the step boundary to the manifest."""
    stall_seconds: float = 0.0
    """Of these, those in which training stood still."""


class ManifestFile(ContractModel):
    """One file of a checkpoint."""

    path: str
    """Relative to the checkpoint directory."""
    bytes: int
    xxh3: str
    """128-bit xxh3 of the content, hexadecimal."""


class CheckpointManifest(ContractModel):
    """`manifest.json`, written last and atomically: without it the directory is no checkpoint."""

    contract_version: int = CONTRACT_VERSION
    step: int
    run: int
    world_size: int
    created_at: str
    files: list[ManifestFile]
    metric: str | None = None
    value: float | None = None
    seconds: float | None = None
    """From the step boundary until all files were on the disk."""
