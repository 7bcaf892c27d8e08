"""Turns rendered examples into tokens and labels, and long ones into pieces that fit. Decides nothing about content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .masks import Rendered
from .templates import bos_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that is not learnt, as PyTorch's cross entropy has it."""


@dataclass(slots=True)
class Encoded:
    """Tokens and their labels, of equal length; a label is the token itself or IGNORED."""

    ids: list[int]
    labels: list[int]

    @property
    def trained(self) -> int:
        """How many tokens are learnt."""
        return sum(label != IGNORED for label in self.labels)


class Encoder:
    """Tokenises whole batches with one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._begin = bos_ids(tokenizer)
        self._end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]

    def encode(self, batch: Sequence[Rendered]) -> list[Encoded]:
        """Tokens exactly as at inference: a learnt span never begins in the middle of a token.

        A text is tokenised as a whole where its tokens up to each learnt span are those of the text up to there
        (what the model will be fed); otherwise piece by piece.
        """
        if not self._tokenizer.is_fast:
            return [self._in_pieces(one) for one in batch]
        found = self._tokenizer(
            [one.text for one in batch],
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        whole = [
            self._from_offsets(one, ids, offsets)
            for one, ids, offsets in zip(batch, found["input_ids"], found["offset_mapping"], strict=True)
        ]
        exact = self._exact(batch, whole)
        return [
            self._ends(one, encoded.ids, encoded.labels) if encoded is not None and good else self._in_pieces(one)
            for one, encoded, good in zip(batch, whole, exact, strict=True)
        ]

    def _from_offsets(self, one: Rendered, ids: list[int], offsets: list[tuple[int, int]]) -> Encoded | None:
        """Labels by the characters that tokens stand for; None where a token crosses the border of a span."""
        labels = [IGNORED] * len(ids)
        position = 0
        for begin, end in one.spans:
            if end < len(one.text) and one.text[end - 1 : end].isspace():
                return None  # Tokens of white space may have offsets without width: which side they are on is not told.
            while begin > 0 and position < len(ids) and offsets[position][1] <= begin:
                position += 1
            if position < len(ids) and offsets[position][0] < begin:
                return None
            while position < len(ids) and (offsets[position][0] < end or end == len(one.text)):
                if offsets[position][1] > end:
                    return None
                labels[position] = ids[position]
                position += 1
        return Encoded(list(ids), labels)

    def _exact(self, batch: Sequence[Rendered], whole: Sequence[Encoded | None]) -> list[bool]:
        """Whether the tokens before each learnt span are what the text before it gives alone.

        Offsets do not tell: byte-level tokenizers leave the space that belongs to a token out of them.
        """
        checks = [
            (index, begin)
            for index, one in enumerate(batch)
            if whole[index] is not None
            for begin, _ in one.spans
            if begin > 0 and one.text[begin - 1].isspace()
        ]
        exact = [True] * len(batch)
        if not checks:
            return exact
        alone = self._plain([batch[index].text[:begin] for index, begin in checks])
        for (index, begin), ids in zip(checks, alone, strict=True):
            encoded = whole[index]
            assert encoded is not None
            learnt_next = len(ids) < len(encoded.ids) and encoded.labels[len(ids)] != IGNORED
            exact[index] &= encoded.ids[: len(ids)] == ids and (learnt_next or begin >= len(batch[index].text))
        return exact

    def _in_pieces(self, one: Rendered) -> Encoded:
        ids: list[int] = []
        labels: list[int] = []
        position = 0
        for begin, end in (*one.spans, (len(one.text), len(one.text))):
            for piece, learnt in ((one.text[position:begin], False), (one.text[begin:end], True)):
                if piece:
                    tokens = self._plain([piece])[0]
                    ids += tokens
                    labels += tokens if learnt else [IGNORED] * len(tokens)
            position = end
        return self._ends(one, ids, labels)

    def _plain(self, texts: list[str]) -> list[list[int]]:
        found = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        return [list(ids) for ids in found["input_ids"]]

    def _ends(self, one: Rendered, ids: list[int], labels: list[int]) -> Encoded:
        if one.begin_token:
            ids, labels = [*self._begin, *ids], [*([IGNORED] * len(self._begin)), *labels]
        if one.end_token:
            ids, labels = [*ids, *self._end], [*labels, *self._end]
        return Encoded(ids, labels)


def windows(encoded: Encoded, length: int) -> Iterator[Encoded]:
    """A document in consecutive pieces of at most `length` tokens; nothing is lost."""
    for begin in range(0, len(encoded.ids), length):
        yield Encoded(encoded.ids[begin : begin + length], encoded.labels[begin : begin + length])


def blocks(documents: Iterable[Encoded], length: int) -> Iterator[Encoded]:
    """Documents one after the other, cut into blocks of `length` tokens; the last block may be shorter."""
    ids: list[int] = []
    labels: list[int] = []
    for document in documents:
        ids += document.ids
        labels += document.labels
        cut = len(ids) - len(ids) % length
        yield from windows(Encoded(ids[:cut], labels[:cut]), length)
        ids, labels = ids[cut:], labels[cut:]
    if ids:
        yield Encoded(ids, labels)
