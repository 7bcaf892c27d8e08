"""Which ranks stand still, and which of them is to blame: pure questions, answered without a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_api.trainer_contract import EndKind
from finetune_trainer.hangs import Sight, hang, seen, stalled
from finetune_trainer.heartbeats import HangWatch, Heartbeat, read_sign

IN_A_COLLECTIVE = ('File "/x/torch/distributed/distributed_c10d.py", line 3000 in all_reduce',)
READING = ('File "/usr/lib/python3.11/pathlib.py", line 1058 in read_bytes',)


def sight(rank: int, silent: float = 100, *, node: int = 0, **fields: object) -> Sight:
    return Sight.model_validate({"rank": rank, "node": node, "silent_seconds": silent, "doing": "Training", **fields})


def silence(watch: HangWatch, now: float) -> float:
    (only,) = watch.silences(now)
    return only.seconds


def test_a_rank_is_silent_only_without_any_work_done(tmp_path: Path) -> None:
    watch = HangWatch({0: tmp_path / "beat"}, now=0)
    assert silence(watch, 3) == 3
    beat = Heartbeat(tmp_path / "beat")
    beat(512)
    assert silence(watch, 4) == 0
    beat.doing("Saving", 7)
    assert silence(watch, 6) == 2, "a word is no work"
    beat(1)
    assert silence(watch, 7) == 0


def test_a_pause_of_the_watch_itself_is_not_the_ranks_silence(tmp_path: Path) -> None:
    watch = HangWatch({0: tmp_path / "beat"}, now=0)
    assert silence(watch, 3600) == 5


def test_a_rank_says_what_it_does_and_for_whom_it_waits(tmp_path: Path) -> None:
    beat = Heartbeat(tmp_path / "beat")
    beat.doing("Training", 12)
    with beat.waiting():
        assert read_sign(tmp_path / "beat").waiting
        before = read_sign(tmp_path / "beat").count
    after = read_sign(tmp_path / "beat")
    assert (after.waiting, after.doing) == (False, "Training, step 12")
    assert after.count > before, "the others came: that is a sign of life"
    watch = HangWatch({0: tmp_path / "beat", 1: tmp_path / "never"}, now=0)
    assert [s.doing for s in seen(watch.silences(1), 0)] == ["Training, step 12", "starting"]


@pytest.mark.parametrize(
    ("sights", "still"),
    [
        ([sight(0, 9), sight(1, 9)], False),
        ([sight(0, 11), sight(1, 9)], True),
        ([sight(0, 9), sight(1, 11, waiting=True)], False),
        ([sight(0, 11), sight(1, 11, waiting=True)], True),
        ([sight(0, 11, waiting=True), sight(1, 11, waiting=True)], True),
        ([], False),
    ],
    ids=["all move", "one does not", "one waits for who moves", "one waits for who does not", "all wait", "none left"],
)
def test_who_waits_for_a_rank_that_works_does_not_hang(sights: list[Sight], still: bool) -> None:
    assert stalled(sights, limit=10) is still


@pytest.mark.parametrize(
    ("others", "culprit"),
    [
        ([sight(1, 99, frames=READING), sight(2, 101, frames=IN_A_COLLECTIVE)], 1),
        ([sight(1, 99, frames=READING), sight(2, 98, state="T")], 2),
        ([sight(1, 99), sight(2, 102, waiting=True, frames=READING)], 1),
        ([sight(1, 101, frames=IN_A_COLLECTIVE), sight(2, 99, frames=IN_A_COLLECTIVE)], 1),
        ([sight(1, 3, frames=READING), sight(2, 3, frames=READING)], 0),
    ],
    ids=["does something of its own", "is stopped", "does not answer", "fell silent first", "alone"],
)
def test_the_rank_to_blame_is_the_one_that(others: list[Sight], culprit: int) -> None:
    verdict = hang([sight(0, 100, frames=IN_A_COLLECTIVE, node=3), *others], limit=99.5)
    assert (verdict.kind, verdict.rank) == (EndKind.HANG, culprit)
    assert f"Rank {culprit}" in verdict.message
    assert "hangTimeoutSeconds" in verdict.advice


def test_the_message_says_what_the_rank_was_doing_and_who_waits_for_it() -> None:
    stuck = sight(5, 60, node=2, doing="Training, step 40", frames=READING)
    said = hang([sight(4, 60, frames=IN_A_COLLECTIVE), stuck], limit=60)
    assert "Rank 5 has shown no sign of life for 60 s (Training, step 40)" in said.message
    assert "read_bytes" in said.message
    assert "rank 4 waits for it" in said.message
    assert said.node == 2


def test_a_node_that_does_not_answer_goes_before_all_ranks() -> None:
    verdict = hang([sight(0, frames=IN_A_COLLECTIVE)], limit=10, deaf=[1])
    assert (verdict.rank, verdict.node) == (None, 1)
    assert "Node 1 does not answer" in verdict.message
