"""Reads manifests as kubectl reads them, and remembers the lines; judges no field (finetune_api does)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from . import scalars
from .errors import ManifestError

API_GROUP = "finetune.dev/"
MAXIMUM_BYTES = 3 * 1024 * 1024
"""The most that the API server takes for one object."""


@dataclass(frozen=True)
class Document:
    """One object of a file, with the line of every field."""

    value: Any
    file: str
    lines: dict[str, int] = field(default_factory=dict)
    """Field (`spec.dataset.sources[0].claim`) to its line, counted from 1; the document itself is the empty field."""

    @property
    def is_job(self) -> bool:
        """Whether it is ours to judge; what has no kind at all is, so that somebody says so."""
        if not isinstance(self.value, dict):
            return True
        version, kind = self.value.get("apiVersion"), self.value.get("kind")
        return kind in (None, "FineTuneJob") or str(version).startswith(API_GROUP)

    @property
    def title(self) -> str:
        if not isinstance(self.value, dict):
            return "document"
        metadata = self.value.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        return f"{self.value.get('kind', 'document')} {name or 'without a name'}"

    def line(self, field_name: str) -> int:
        """The line of a field, or of the nearest object around it."""
        while field_name and field_name not in self.lines:
            field_name = field_name[: max(field_name.rfind("."), field_name.rfind("["), 0)]
        return self.lines.get(field_name, 1)


class _Loader(yaml.SafeLoader):
    """Composes nodes only; a plain scalar keeps the tag PLAIN, its meaning is decided in scalars.py."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return scalars.PLAIN
        tag: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # the stubs have no types
        return tag


def read(path: str) -> list[Document]:
    """All documents of a file, `-` for standard input; a List gives its items. Raises ManifestError."""
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise ManifestError(
            f"cannot be read ({error.strerror}): give the path of a manifest, or - for stdin", path
        ) from error
    file = "<stdin>" if path == "-" else path
    if len(data) > MAXIMUM_BYTES:
        raise ManifestError(f"is larger than {MAXIMUM_BYTES} bytes: no API server takes that", file)
    try:
        return parse(data.decode("utf-8-sig"), file)
    except UnicodeDecodeError as error:
        raise ManifestError(f"is not UTF-8 at byte {error.start}: save it as UTF-8", file) from error


def parse(text: str, file: str = "") -> list[Document]:
    """All documents of a text. Raises ManifestError with the line."""
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=_Loader) if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ": ".join(part for part in (error.context, error.problem) if part)
        hint = "; indent with spaces" if "\\t" in said else ""
        raise ManifestError(f"is no YAML: {said}{hint}", file, mark.line + 1 if mark else None) from error
    except yaml.YAMLError as error:
        raise ManifestError(f"is no YAML: {error}", file) from error
    documents = [_Reading(file).document(node) for node in nodes if not _empty(node)]
    found = [item for document in documents for item in _items(document)]
    if not found:
        raise ManifestError("holds no object: write apiVersion, kind, metadata and spec", file)
    return found


def _empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == scalars.PLAIN and node.value in ("", "~", "null")


def _items(document: Document) -> Iterator[Document]:
    value = document.value
    if not isinstance(value, dict) or value.get("kind") != "List" or not isinstance(value.get("items"), list):
        yield document
        return
    for index, item in enumerate(value["items"]):
        start = f"items[{index}]"
        lines = {
            name.removeprefix(start).lstrip("."): line
            for name, line in document.lines.items()
            if name == start or name.startswith((f"{start}.", f"{start}["))
        }
        yield Document(item, document.file, lines)


class _Reading:
    """One document being turned from nodes into values."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[str, int] = {}
        self.open: set[int] = set()

    def document(self, node: yaml.Node) -> Document:
        return Document(self.value(node, ""), self.file, self.lines)

    def value(self, node: yaml.Node, at: str) -> Any:
        self.lines.setdefault(at, node.start_mark.line + 1)
        if id(node) in self.open:
            raise self._error(node, "an alias stands inside its own anchor: write the value out")
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.ScalarNode):
                return self._scalar(node)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, f"{at}[{index}]") for index, item in enumerate(node.value)]
            return self._mapping(node, at)
        finally:
            self.open.discard(id(node))

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            return scalars.meaning(node.value, node.tag)
        except ManifestError as error:
            raise self._error(node, error.message) from error

    def _mapping(self, node: yaml.Node, at: str) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag == scalars.PLAIN and key_node.value == "<<":
                merged = {**self._merge(value_node, at), **merged}
                continue
            name = self._key(key_node)
            if name in own:
                raise self._error(key_node, f"{name} is written twice in the same object: keep one of them")
            field_name = f"{at}.{name}" if at else name
            self.lines[field_name] = key_node.start_mark.line + 1
            own[name] = self.value(value_node, field_name)
        return {**merged, **own}

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "a key must be a name")
        try:
            return scalars.key(self._scalar(node))
        except ManifestError as error:
            raise self._error(node, error.message) from error

    def _merge(self, node: yaml.Node, at: str) -> dict[str, Any]:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for part in parts:
            value = self.value(part, at)
            if not isinstance(value, dict):
                raise self._error(node, "<< takes an object or a list of objects")
            merged = {**value, **merged}
        return merged

    def _error(self, node: yaml.Node, message: str) -> ManifestError:
        if message.startswith(f"{self.file}:"):
            return ManifestError(message)
        return ManifestError(message, self.file, node.start_mark.line + 1)
