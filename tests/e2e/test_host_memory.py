"""One rank of two is killed by the kernel for its memory, in a real cgroup; the supervisor beside it says so."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_api.trainer_contract import EndKind, ExitCode
from tests.trainer.attempts import AJob
from tests.trainer.pods import pods
from tests.trainer.tiny_model import make_tiny_model

LIMIT = 3 * 2**29
"""Bytes: what the ranks share with the process that they were forked from does not count."""


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A memory cgroup of its own below that of the tests, on v1 and v2."""
    root = Path("/sys/fs/cgroup")
    memberships = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = {controllers: path for _, controllers, path in memberships}
    if "memory" in own:
        made = root / "memory" / own["memory"].lstrip("/") / f"ranks-{uuid.uuid4().hex[:8]}"
        limit = made / "memory.limit_in_bytes"
    else:
        made = root / own[""].lstrip("/") / f"ranks-{uuid.uuid4().hex[:8]}"
        limit = made / "memory.max"
    made.mkdir()
    limit.write_text(str(LIMIT))
    yield made
    made.rmdir()


def test_the_rank_that_the_kernel_killed_is_named_and_the_end_is_one_of_memory(tmp_path: Path, cgroup: Path) -> None:
    import datasets  # noqa: F401  # loaded before the ranks are forked
    import peft  # noqa: F401  # loaded before the ranks are forked
    import torch

    torch.set_num_threads(1)
    make_tiny_model(tmp_path / "models" / "tiny")
    job = AJob.on(tmp_path, tmp_path / "models").with_spec(
        hyperparameters={"epochs": None, "maxSteps": 1_000_000, "perDeviceBatchSize": 2},
        checkpoint={"everySteps": 2},
    )

    def make_one_hungry(rank: int) -> None:
        if rank == 1:
            eat_memory_from_the_21st_batch()

    # What is forked from here belongs to the same cgroup.
    (cgroup / "cgroup.procs").write_text(str(os.getpid()))
    try:
        with pods(job, ranks=2, before=make_one_hungry) as gang:
            (record,) = gang.wait()
    finally:
        (cgroup.parent / "cgroup.procs").write_text(str(os.getpid()))
    assert (gang[0].code, record.kind) == (ExitCode.HOST_OUT_OF_MEMORY, EndKind.HOST_OUT_OF_MEMORY), gang.logs
    assert (record.rank, record.signal) == (1, "SIGKILL")
    assert "compute.memory" in record.advice
    assert record.checkpoint.latest is not None


def eat_memory_from_the_21st_batch() -> None:
    from finetune_trainer.trainer import RecipeTrainer

    step, done = RecipeTrainer.training_step, [0]

    def hungry(self: RecipeTrainer, *arguments: object, **named: object) -> object:
        done[0] += 1
        eaten = [bytearray(64 * 2**20) for _ in range(2 * LIMIT // (64 * 2**20))] if done[0] == 21 else []
        del eaten
        return step(self, *arguments, **named)

    RecipeTrainer.training_step = hungry  # type: ignore[assignment,method-assign]  # in the forked rank only
