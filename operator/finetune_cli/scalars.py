"""What a YAML scalar means, by the rules that kubectl uses (go-yaml 2); knows no document.

PyYAML's own rules differ where it hurts: it reads `2e-4` as a string and `1:30` as a number. kubectl reads `on`, `yes`
and `y` as booleans, as keys too, and so does this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .errors import ManifestError

Scalar = str | int | float | bool | None

PLAIN = "plain"
_PREFIX = "tag:yaml.org,2002:"
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_WHOLE = (
    (re.compile(r"^[-+]?0[xX][0-9a-fA-F]+$"), 16),
    (re.compile(r"^[-+]?0[bB][01]+$"), 2),
    (re.compile(r"^[-+]?0[oO]?[0-7]+$"), 8),
    (re.compile(r"^[-+]?(0|[1-9][0-9]*)$"), 10),
)
_WORDS: Mapping[str, bool | None] = {
    word: value
    for value, words in (
        (True, "y Y yes Yes YES true True TRUE on On ON"),
        (False, "n N no No NO false False FALSE off Off OFF"),
        (None, "~ null Null NULL"),
    )
    for word in words.split()
} | {"": None}
_INFINITE = re.compile(r"^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$")


def meaning(text: str, tag: str) -> Scalar:
    """The value of a scalar; PLAIN is the tag of an unquoted one without. Raises ManifestError (without a place)."""
    if tag in (PLAIN, "?"):
        return _plain(text)
    value = text if tag == _PREFIX + "str" else _plain(text)
    if tag == _PREFIX + "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(tag.removeprefix(_PREFIX))
    if wanted is not None and type(value) is not wanted:
        raise ManifestError(f"{text!r} is no {tag.removeprefix(_PREFIX)}: leave the tag out or mend the value")
    return text if wanted is None else value


def _plain(text: str) -> Scalar:
    if text in _WORDS:
        return _WORDS[text]
    if _INFINITE.match(text):
        raise ManifestError(f"{text} is no number that JSON has: write a finite one")
    if not text[0].isdigit() and text[0] not in "+-.":
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    for pattern, base in _WHOLE:
        if pattern.match(digits):
            return int(re.sub(r"0[xXbBoO]", "", digits, count=1) if base != 10 else digits, base)
    if _FLOAT.match(digits):
        number = float(digits)
        return text if number in (float("inf"), float("-inf")) else number
    return text


def key(value: Scalar) -> str:
    """The name that a key gets in JSON. Raises ManifestError (without a place)."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        raise ManifestError("a key is null: write a name")
    return f"{value:g}" if isinstance(value, float) else str(value)
