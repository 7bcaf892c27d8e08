"""Shows a person what the model is fed and which part of it is learnt. For the log; nothing is computed from it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from .encoding import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAXIMUM_CHARACTERS = 4000


def render_sample(ids: Sequence[int], labels: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """One example decoded, with what is learnt in «»; cut in the middle when it is long."""
    text = ""
    position = 0
    for learnt, run in groupby(labels, key=lambda label: label != IGNORED):
        length = len(list(run))
        part = str(tokenizer.decode(list(ids[position : position + length]), skip_special_tokens=False))
        text += f"«{part}»" if learnt else part
        position += length
    if len(text) > MAXIMUM_CHARACTERS:
        half = MAXIMUM_CHARACTERS // 2
        text = f"{text[:half]}\n[… {len(text) - 2 * half} characters …]\n{text[-half:]}"
    trained = sum(label != IGNORED for label in labels)
    return f"One example of {len(ids)} tokens; the {trained} in «» are learnt:\n{text}"
