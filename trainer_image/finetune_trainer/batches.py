"""Which rows share a batch, in which order, and how they become tensors: a pure function of seed and epoch."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

IGNORED = -100
# Rows are sorted by length within windows of this many effective batches: enough to leave little padding (a few
# per cent), few enough that an epoch's batches stay mixed.
WINDOW = 50


@dataclass(frozen=True)
class BatchSplit:
    """How the rows of one optimizer step are shared out."""

    per_device: int
    accumulation: int
    world_size: int

    @property
    def effective(self) -> int:
        """Rows of one optimizer step."""
        return self.per_device * self.accumulation * self.world_size


class BatchOrder(Sampler[list[int]]):
    """The micro-batches of one rank in an epoch.

    The rows of an optimizer step depend on the seed, the epoch and the effective batch only: not on how many ranks
    share it or how many micro-batches it takes, so that an attempt with another split goes on with the same data.
    """

    def __init__(self, lengths: Sequence[int], split: BatchSplit, rank: int, seed: int, *, like_length: bool) -> None:
        self._lengths = torch.tensor(lengths, dtype=torch.int64)
        self._split = split
        self._rank = rank
        self._seed = seed
        self._like_length = like_length
        self._epoch = 0
        self._passed: tuple[int, int] | None = None

    def pass_over(self, start: int, end: int) -> None:
        """From step `start` on (counted over all epochs, from 0) the rows of step `end` and those behind it are used.

        What lies between is never learnt from; the end of the last epoch is filled from the epoch that would follow.
        """
        self._passed = (start, end)

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        split = self._split
        full, rest = divmod(len(self._lengths), split.effective)
        return full * split.accumulation + -(-rest // (split.per_device * split.world_size))

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps(self._epoch):
            yield from _share(step, self._split, self._rank)

    def steps(self, epoch: int) -> list[list[int]]:
        """The rows of each optimizer step of an epoch; only the last may be short."""
        plain = self._plain(epoch)
        if self._passed is None:
            return plain
        (start, end), length, full = self._passed, len(plain), len(self._lengths) // self._split.effective
        # A short step has fewer micro-batches, which the loop expects at its place: its likes move among themselves.
        is_short = [step % length >= full for step in range(start, end)]
        short, others = sum(is_short), len(is_short) - sum(is_short)
        moved = []
        for place in range(length):
            if epoch * length + place < start:
                moved.append(plain[place])
            elif place >= full:
                moved.append(self._plain(epoch + short)[place])
            else:
                later, at = divmod(epoch * full + place + others, full)
                moved.append(self._plain(later)[at])
        return moved

    @lru_cache(maxsize=4)  # noqa: B019  # one order lives as long as its run
    def _plain(self, epoch: int) -> list[list[int]]:
        """The steps of an epoch in which nothing is passed over."""
        # A linear map of (seed, epoch) would give seed 1 in epoch 0 what seed 0 has in epoch 1.
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch * 7_919 + 12_345) % 2**63)
        order = torch.randperm(len(self._lengths), generator=generator)
        size = self._split.effective
        if not self._like_length:
            return _chunks(order, size)
        steps: list[list[int]] = []
        for start in range(0, len(order), size * WINDOW):
            window = order[start : start + size * WINDOW]
            by_length = window[torch.argsort(self._lengths[window], descending=True, stable=True)]
            steps += _chunks(by_length, size)
        short = [step for step in steps if len(step) < size]
        full = [step for step in steps if len(step) == size]
        mixed = [full[index] for index in torch.randperm(len(full), generator=generator).tolist()]
        if mixed:
            # The longest rows come first: what does not fit into memory shows at the first step.
            longest = max(range(len(mixed)), key=lambda index: int(self._lengths[mixed[index][0]]))
            mixed[0], mixed[longest] = mixed[longest], mixed[0]
        return mixed + short


def _chunks(rows: torch.Tensor, size: int) -> list[list[int]]:
    listed: list[int] = rows.tolist()
    return [listed[start : start + size] for start in range(0, len(listed), size)]


def _share(step: list[int], split: BatchSplit, rank: int) -> Iterator[list[int]]:
    """This rank's micro-batches of a step. Every rank gets equally many, none of them empty."""
    together = split.per_device * split.world_size
    for start in range(0, len(step), together):
        rows = step[start : start + together]
        if len(rows) == together:
            yield rows[rank * split.per_device : (rank + 1) * split.per_device]
        else:
            # The end of an epoch: shared out evenly; a rank that would stay without a row repeats one.
            yield rows[rank :: split.world_size] or [rows[rank % len(rows)]]


def lengths_of(dataset: Any) -> list[int]:
    """Tokens of each row of a datasets.Dataset, without reading the tokens into Python."""
    import pyarrow.compute as compute

    table = dataset.with_format("arrow")[:]
    lengths: list[int] = compute.list_value_length(table["input_ids"]).to_pylist()
    return lengths


@dataclass(frozen=True)
class Collator:
    """Rows to a batch: padded on the right to the longest, labels of padding ignored.

    Returns input_ids, attention_mask and labels, each int64 of shape (rows, longest).
    """

    pad_token: int
    multiple_of: int = 1

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        width = -(-longest // self.multiple_of) * self.multiple_of
        ids = torch.full((len(rows), width), self.pad_token, dtype=torch.int64)
        labels = torch.full((len(rows), width), IGNORED, dtype=torch.int64)
        mask = torch.zeros((len(rows), width), dtype=torch.int64)
        for index, row in enumerate(rows):
            length = len(row["input_ids"])
            ids[index, :length] = torch.tensor(row["input_ids"], dtype=torch.int64)
            labels[index, :length] = torch.tensor(row["labels"], dtype=torch.int64)
            mask[index, :length] = 1
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@dataclass(frozen=True)
class PackedCollator:
    """Rows to a batch of one row without padding; position_ids that begin again keep the examples apart.

    The rows of an optimizer step stay the same, so that packing changes the speed and not what is learnt. Returns
    input_ids, position_ids and labels, each int64 of shape (1, all tokens).
    """

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        ids = [token for row in rows for token in row["input_ids"]]
        positions = [position for row in rows for position in range(len(row["input_ids"]))]
        # The first token of an example must not be predicted from the last one of the example before.
        labels = [label for row in rows for label in [IGNORED, *row["labels"][1:]]]
        return {
            "input_ids": torch.tensor([ids], dtype=torch.int64),
            "position_ids": torch.tensor([positions], dtype=torch.int64),
            "labels": torch.tensor([labels], dtype=torch.int64),
        }


def tokens_in(batch: dict[str, torch.Tensor]) -> int:
    """Tokens of a batch, padding left out."""
    mask = batch.get("attention_mask")
    return batch["input_ids"].numel() if mask is None else int(mask.sum())


def train_loader(
    dataset: Any, order: BatchOrder, collator: Collator | PackedCollator, workers: int, *, pin: bool
) -> DataLoader[Any]:
    """The loader of training batches. Draws no numbers from the global stream, which belongs to dropout."""
    return _Loader(
        dataset,
        batch_sampler=order,
        collate_fn=collator,
        num_workers=workers,
        persistent_workers=False,
        pin_memory=pin,
        worker_init_fn=_in_loader_worker,
        generator=torch.Generator().manual_seed(0),
    )


def _in_loader_worker(_: int) -> None:
    # SIGTERM asks the rank to save; a worker that it started is simply to end.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def evaluation_batches(
    dataset: Any, collator: Collator | PackedCollator, rows: int, rank: int, world_size: int
) -> DataLoader[Any]:
    """This rank's share of the held-out rows, longest first; each row on exactly one rank."""
    lengths = lengths_of(dataset)
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))[rank::world_size]
    batches = [order[start : start + rows] for start in range(0, len(order), rows)]
    return DataLoader(dataset, batch_sampler=batches, collate_fn=collator, generator=torch.Generator().manual_seed(0))


class _Loader(DataLoader[Any]):
    """Passes the epoch on to the order, as the training loop expects."""

    def set_epoch(self, epoch: int) -> None:
        order = self.batch_sampler
        if isinstance(order, BatchOrder):
            order.set_epoch(epoch)
