"""Writes examples as tokens into Arrow files and counts what was cut or left out. Chooses no examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .encoding import Encoded, Encoder, blocks, windows
from .masks import Loss, loss_for, rendered
from .rows import Example
from .templates import Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Item = TypeVar("Item")
_BATCH = 256
_ROWS_A_CHUNK = 1024


@dataclass(slots=True)
class Tokenising:
    """How examples of one job become rows of tokens."""

    tokenizer: PreTrainedTokenizerBase
    template: Template
    loss: Loss | None
    pretraining: bool
    maximum_length: int
    maximum_tokens: int | None
    heartbeat: Callable[[int], None]
    rows: int = 0
    """Rows of work done so far, for the heartbeat."""
    counts: Counter[str] = field(default_factory=Counter)
    """What happened to examples: truncated, nothing_learnt, too_long."""

    def write(self, examples: Sequence[Example], path: Path) -> tuple[int, Encoded | None]:
        """Writes the rows of tokens; gives back how many and the first of them (None: nothing is left)."""
        import pyarrow as pa

        schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])
        written, first = 0, None
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
            for chunk in _chunks(self._rows(examples), _ROWS_A_CHUNK):
                first = first or chunk[0]
                written += len(chunk)
                columns = [[row.ids for row in chunk], [row.labels for row in chunk]]
                stream.write_batch(
                    pa.record_batch([pa.array(column, pa.list_(pa.int32())) for column in columns], schema=schema)
                )
        return written, first

    def _rows(self, examples: Sequence[Example]) -> Iterator[Encoded]:
        encoded = self._encoded(examples)
        if self.pretraining:
            yield from (row for row in blocks((one for _, one in encoded), self.maximum_length) if self._learns(row))
            return
        for example, one in encoded:
            if example.kind == "Text":
                yield from windows(one, self.maximum_length)
                continue
            if len(one.ids) > self.maximum_length:
                self.counts["truncated"] += 1
                one = next(windows(one, self.maximum_length))
            if self._learns(one):
                yield one

    def _learns(self, row: Encoded) -> bool:
        if row.trained == 0:
            self.counts["nothing_learnt"] += 1
        return row.trained > 0

    def _encoded(self, examples: Sequence[Example]) -> Iterator[tuple[Example, Encoded]]:
        encoder = Encoder(self.tokenizer)
        for batch in _chunks(examples, _BATCH):
            texts = [
                rendered(example, loss_for(example, self.loss, self.pretraining), self.tokenizer, self.template)
                for example in batch
            ]
            for example, one in zip(batch, encoder.encode(texts), strict=True):
                if self.maximum_tokens is not None and len(one.ids) > self.maximum_tokens:
                    self.counts["too_long"] += 1
                elif one.ids:
                    yield example, one
            self.rows += len(batch)
            self.heartbeat(self.rows)


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
