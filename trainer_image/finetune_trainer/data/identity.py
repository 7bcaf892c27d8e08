"""Digests of what rows say, for splitting, mixing and recognising data. Not for security."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import xxhash

from .rows import Example


def draw(seed: int, *parts: object) -> float:
    """A number in [0, 1) that depends on nothing but the seed and the parts: the same on every machine and run."""
    text = "\x1f".join(str(part) for part in (seed, *parts))
    return (xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) >> 11) / (1 << 53)


def content_key(example: Example) -> str:
    """The same for examples that say the same, whatever their white space, case and Unicode form."""
    roles = [message["role"] for message in example.messages]
    texts = [" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in example.texts]
    calls = [message.get("tool_calls") for message in example.messages]
    return digest([roles, texts, calls if any(calls) else None])


def digest(value: Any) -> str:
    """32 hexadecimal digits of a JSON-like value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
