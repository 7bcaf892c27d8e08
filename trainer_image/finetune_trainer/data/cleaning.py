"""Drops and normalises examples as dataset.cleaning says. Token counts are known later (see tokenise.py)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from finetune_api.v1alpha1.dataset import Cleaning

from .identity import content_key
from .rows import Example


def clean(examples: Sequence[Example], rules: Cleaning | None, seen: set[str]) -> tuple[list[Example], dict[str, int]]:
    """The examples that stay, and how many were dropped for which reason.

    Characters are counted over all the text of an example, after normalisation (Unicode NFC). Of examples that say the
    same (white space and case apart) the first stays; `seen` remembers them across sources.
    """
    dropped: dict[str, int] = {}
    if rules is None:
        return list(examples), dropped
    kept = []
    for example in examples:
        if rules.normalize_unicode:
            example = _normalised(example)
        reason = _reason(example, rules, seen)
        if reason is None:
            kept.append(example)
        else:
            dropped[reason] = dropped.get(reason, 0) + 1
    return kept, dropped


def _reason(example: Example, rules: Cleaning, seen: set[str]) -> str | None:
    length = sum(len(text) for text in example.texts)
    if rules.min_characters is not None and length < rules.min_characters:
        return f"shorter than {rules.min_characters} characters"
    if rules.max_characters is not None and length > rules.max_characters:
        return f"longer than {rules.max_characters} characters"
    if rules.drop_duplicates:
        key = content_key(example)
        if key in seen:
            return "duplicates"
        seen.add(key)
    return None


def _normalised(example: Example) -> Example:
    def nfc(text: str) -> str:
        return unicodedata.normalize("NFC", text)

    return replace(
        example,
        text=nfc(example.text),
        prompt=nfc(example.prompt),
        completion=nfc(example.completion),
        messages=tuple(
            {**message, "content": nfc(message["content"])} if isinstance(message.get("content"), str) else message
            for message in example.messages
        ),
    )
