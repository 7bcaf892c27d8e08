"""Writes YAML that kubectl reads as it was meant: what its rules take for a number or a boolean is put in quotes."""

from __future__ import annotations

from typing import Any

import yaml

from . import scalars
from .errors import ManifestError


class _Writer(yaml.SafeDumper):
    """Quotes by kubectl's rules, which take `y`, `on` and `2e-4` for more than text; PyYAML's own do not."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(writer: _Writer, text: str) -> yaml.ScalarNode:
    try:
        plain = scalars.meaning(text, scalars.PLAIN) == text
    except ManifestError:
        plain = False
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Writer.add_representer(str, _text)


def to_yaml(document: Any) -> str:
    """A document as YAML, its names in the order in which they stand."""
    text: str = yaml.dump(document, Dumper=_Writer, sort_keys=False)
    return text
