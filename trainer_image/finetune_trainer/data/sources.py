"""Reads the sources of a job into examples: which rows, in which shape. Splitting and tokenising come after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import xxhash

from finetune_api.trainer_contract import Mounts
from finetune_api.v1alpha1.dataset import Dataset, DataSource
from finetune_api.v1alpha1.references import HubDataset

from ..errors import DataError
from .formats import FIELDS, detect, example_of, shape_of
from .hub import commit_of, read_hub
from .identity import digest
from .places import files_of
from .readers import read
from .rows import Example, Origin, Row

HEARTBEAT_ROWS = 1000


@dataclass(slots=True)
class SourceExamples:
    """What one source gave."""

    name: str
    """Its task, or what it is called in messages."""
    weight: float | None
    maximum: int | None
    format: str = ""
    examples: list[Example] = field(default_factory=list)
    empty: int = 0
    """Rows without anything to learn."""
    first_empty: Origin | None = None


@dataclass(slots=True)
class SourceReader:
    """Reads sources one after the other, adding up a fingerprint over every row."""

    dataset: Dataset
    mounts: Mounts
    pretraining: bool
    pinned: Mapping[str, str]
    heartbeat: Callable[[int], None]
    revisions: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    _hash: Any = field(default_factory=xxhash.xxh3_128)

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over all rows read so far, in their order."""
        return str(self._hash.hexdigest())

    def read(self, source: DataSource) -> SourceExamples:
        """All examples of a source, in the order of its files. Raises DataError and ConfigError."""
        found = SourceExamples(source.task or source_name(source), source.weight, source.max_examples)
        shape = None
        for row in self._rows(source):
            if shape is None:
                found.format = self._format(row)
                shape = shape_of(
                    row,
                    found.format,
                    self.dataset.columns or {},
                    system_message=self.dataset.system_message,
                    templated_pairs=bool(self.dataset.chat_template or self.dataset.system_message),
                    group_by=self.dataset.group_by,
                )
            example = example_of(row, shape)
            if example is None:
                found.empty += 1
                found.first_empty = found.first_empty or row.origin
            else:
                found.examples.append(example)
        if not found.examples:
            raise DataError("no row has anything to learn from.", "Add examples.", file=source_name(source))
        return found

    def _format(self, row: Row) -> str:
        wanted = self.dataset.format
        if wanted in FIELDS:
            return str(wanted)
        return detect(row, self.dataset.columns or {}, prefer_text=self.pretraining)

    def _rows(self, source: DataSource) -> Iterator[Row]:
        for row in self._all_rows(source):
            self._hash.update(digest(row.values).encode())
            self.rows += 1
            if self.rows % HEARTBEAT_ROWS == 0:
                self.heartbeat(self.rows)
            yield row

    def _all_rows(self, source: DataSource) -> Iterator[Row]:
        if source.hub is None:
            for file in files_of(source, self.mounts):
                yield from read(file)
            return
        key = revision_key(source.hub)
        self.revisions[key] = commit_of(source.hub, self.pinned.get(key))
        yield from read_hub(source.hub, self.revisions[key])


def revision_key(hub: HubDataset) -> str:
    """Under which name run.json keeps the commit of a hub data set."""
    return f"{hub.id}@{hub.revision}" if hub.revision else hub.id


def source_name(source: DataSource) -> str:
    """How messages call a source."""
    if source.hub is not None:
        return source.hub.id
    if source.config_map is not None:
        return f"{source.config_map.name}/{source.config_map.key}"
    assert source.claim is not None, "a source is exactly one of claim, configMap and hub"
    return f"{source.claim.name}/{source.claim.path}" if source.claim.path else source.claim.name
