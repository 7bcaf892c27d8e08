"""Finds the files that a claim or ConfigMap source names, and never leaves the mount. Does not open them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from finetune_api.trainer_contract import Mounts
from finetune_api.v1alpha1.dataset import DataSource

from ..errors import ConfigError, DataError

KINDS = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".parquet")
KINDS_IN_WORDS = "JSON (.json), JSON lines (.jsonl), CSV (.csv, .tsv), plain text (.txt) or Parquet (.parquet)"
_LISTED = 8


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file to read."""

    path: Path
    label: str
    """How messages call it: `<claim or ConfigMap>/<path>`."""
    kind: str
    """One of KINDS."""
    compressed: bool
    """Packed with gzip."""


def kind_of(name: str) -> tuple[str, bool] | None:
    """The kind of a file by its name and whether it is gzipped; None for a file that is no data."""
    lowered = name.lower()
    compressed = lowered.endswith(".gz")
    kind = Path(lowered.removesuffix(".gz")).suffix
    kind = ".jsonl" if kind == ".ndjson" else kind
    if kind not in KINDS or (compressed and kind == ".parquet"):
        return None
    return kind, compressed


def files_of(source: DataSource, mounts: Mounts) -> list[DataFile]:
    """The files of a claim or ConfigMap source, directories recursively, sorted by path. Raises DataError."""
    if source.config_map is not None:
        name = source.config_map.name
        root = mount_of(mounts.config_maps, name, "ConfigMap")
        return _files_at(root, source.config_map.key, name)
    assert source.claim is not None, "a source is exactly one of claim, configMap and hub"
    return _files_at(mount_of(mounts.claims, source.claim.name, "claim"), source.claim.path or ".", source.claim.name)


def mount_of(mounts: dict[str, str], name: str, what: str) -> Path:
    """The directory of a mounted claim or ConfigMap. Raises ConfigError when it was not mounted."""
    if name not in mounts:
        known = ", ".join(sorted(mounts)) or "none"
        raise ConfigError(f"The {what} {name} is not mounted; mounted are: {known}.", f"Give the {what} to the run.")
    return Path(mounts[name])


def inside(root: Path, relative: str, label: str) -> Path:
    """The real path of something below a mount. Raises DataError where `..` or a link leads out of it."""
    path = Path(os.path.realpath(root / relative))
    if not path.is_relative_to(os.path.realpath(root)):
        raise DataError(
            "the path leads out of its volume.", "Write a path below the root of the volume, without `..`.", file=label
        )
    return path


def _files_at(root: Path, relative: str, name: str) -> list[DataFile]:
    label = name if relative in (".", "") else f"{name}/{relative.rstrip('/')}"
    path = inside(root, relative, label)
    if path.is_dir():
        return _files_below(root, path, label)
    if not path.is_file():
        raise DataError("no such file or directory.", _what_is_there(root, relative), file=label)
    kind = kind_of(relative)
    if kind is None:
        raise DataError("the file's kind is not known from its name.", f"Name it as {KINDS_IN_WORDS}.", file=label)
    return [DataFile(path, label, *kind)]


def _files_below(root: Path, directory: Path, label: str) -> list[DataFile]:
    found, others = [], []
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
        for entry in sorted(names):
            relative = Path(folder, entry).relative_to(directory)
            kind = None if entry.startswith(".") else kind_of(entry)
            if kind is None:
                others.append(str(relative))
                continue
            shown = f"{label}/{relative}"
            found.append(DataFile(inside(root, os.path.relpath(Path(folder, entry), root), shown), shown, *kind))
    if not found:
        there = f"It holds {_listed(others)}." if others else "It is empty."
        raise DataError("the directory has no data files.", f"{there} Data files are {KINDS_IN_WORDS}.", file=label)
    return sorted(found, key=lambda file: file.label)


def _what_is_there(root: Path, relative: str) -> str:
    """What to write instead: the entries of the nearest directory that exists."""
    nearest = Path(relative).parent
    while nearest != nearest.parent and not (root / nearest).is_dir():
        nearest = nearest.parent
    directory = root / nearest
    where = "The root of the volume" if nearest == Path(".") else f"{nearest}"
    if not directory.is_dir():
        return "The volume is not mounted."
    entries = sorted(
        entry.name + ("/" if entry.is_dir() else "") for entry in directory.iterdir() if not entry.name.startswith(".")
    )
    return f"{where} holds {_listed(entries)}." if entries else f"{where} is empty."


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"
