"""How names and constants are spelt in CEL, and how a field is read from a plain object. Holds no condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RESERVED = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"}
    | {"let", "loop", "package", "namespace", "return", "var", "void", "while"}
)
"""Words that CEL reads as its own; a field of such a name is written with underscores around it."""


class Unfit(Exception):  # noqa: N818 - a condition that does not fit what was written, no failure of ours
    """The document does not have what a condition reads, or has it in another type."""


def attribute(name: str) -> str:
    """A field's name as CEL spells it."""
    return f"__{name}__" if name in RESERVED else name


def literal(value: Any) -> str:
    """A constant as CEL spells it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    if isinstance(value, list | tuple):
        return f"[{', '.join(literal(item) for item in value)}]"
    return repr(value)


def read(value: Mapping[str, Any], path: str) -> Any:
    """The field at a path. Raises Unfit where it was not written."""
    found: Any = value
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
        if found is None:  # a null counts as not written
            raise Unfit(path)
    return found
