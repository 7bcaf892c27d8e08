"""The rows of an optimizer step do not depend on how the step is shared out, and packing does not move the loss."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def order(lengths: list[int], per_device: int, accumulation: int, world: int, rank: int, seed: int = 1):  # type: ignore[no-untyped-def]  # torch is imported late
    from finetune_trainer.batches import BatchOrder, BatchSplit

    return BatchOrder(lengths, BatchSplit(per_device, accumulation, world), rank, seed, like_length=True)


@settings(deadline=None)
@given(
    rows=st.integers(1, 150), per_device=st.integers(1, 5), accumulation=st.integers(1, 3), world=st.integers(1, 3),
    epoch=st.integers(0, 3),
)  # fmt: skip
def test_an_epoch_has_every_row_and_every_rank_equally_many_batches(
    rows: int, per_device: int, accumulation: int, world: int, epoch: int
) -> None:
    lengths = [(number * 37) % 50 + 1 for number in range(rows)]
    shares = []
    for rank in range(world):
        one = order(lengths, per_device, accumulation, world, rank)
        one.set_epoch(epoch)
        batches = list(one)
        assert len(batches) == len(one)
        assert all(batches)
        assert max(len(batch) for batch in batches) <= per_device
        shares.append(batches)
    assert len({len(share) for share in shares}) == 1
    seen = [row for share in shares for batch in share for row in batch]
    assert set(seen) == set(range(rows))
    assert len(seen) - rows < world


@pytest.mark.parametrize("split", [(8, 1, 1), (4, 2, 1), (2, 2, 2), (1, 8, 1)])
def test_the_rows_of_a_step_do_not_depend_on_the_split(split: tuple[int, int, int]) -> None:
    lengths = [(number * 37) % 50 + 1 for number in range(64)]
    per_device, accumulation, world = split
    steps = [set[int]() for _ in range(8)]
    for rank in range(world):
        for index, batch in enumerate(order(lengths, per_device, accumulation, world, rank)):
            steps[index // accumulation] |= set(batch)
    assert steps == [set(step) for step in order(lengths, 8, 1, 1, 0).steps(0)]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    lengths = [(number * 37) % 50 + 1 for number in range(64)]
    orders = [order(lengths, 8, 1, 1, 0, seed).steps(epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert len({str(one) for one in orders}) == 4


def test_like_lengths_share_a_batch_and_the_longest_come_first() -> None:
    lengths = [(number * 37) % 100 + 1 for number in range(400)]
    steps = order(lengths, 8, 1, 1, 0).steps(0)
    padded = sum(max(lengths[row] for row in step) * len(step) for step in steps)
    assert padded < sum(lengths) * 1.05
    assert max(lengths) in [lengths[row] for row in steps[0]]


def test_packed_examples_do_not_see_each_other(models: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from finetune_trainer.batches import Collator, PackedCollator
    from finetune_trainer.evaluation import _batch_loss

    model = AutoModelForCausalLM.from_pretrained(models / "tiny").eval()
    rows = [
        {"input_ids": list(range(5, 5 + length)), "labels": [-100, *range(6, 5 + length)]} for length in (9, 30, 17, 4)
    ]
    device = torch.device("cpu")
    with torch.no_grad():
        padded = _batch_loss(model, Collator(0)(rows), device, None)
        packed = _batch_loss(model, PackedCollator()(rows), device, None)
    assert packed[1] == padded[1] == sum(len(row["input_ids"]) - 1 for row in rows)
    assert packed[0] == pytest.approx(padded[0], rel=1e-5)
