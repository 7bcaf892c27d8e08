"""A job that goes on with another number of processes learns what it would have learnt: the effective batch stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune_api.trainer_contract import EndKind

from .attempts import AJob, Ranks
from .test_resume import largest_differences

# Sums over other groupings of the same rows differ in their last digits, and the optimizer carries those on.
LOSS, WEIGHT = 1e-3, 1e-2


def without_dropout(volume: Path, models: Path, per_device: int = 4) -> AJob:
    """8 examples per optimizer step, 10 steps."""
    return AJob.on(volume, models).with_spec(
        tuning={"dropout": 0.0}, hyperparameters={"perDeviceBatchSize": per_device, "gradientAccumulationSteps": 2}
    )


def kill_after_step(job: AJob, count: int, step: int) -> None:
    ranks = Ranks(job, count)
    ranks.wait_for(lambda report: report.checkpoint.latest is not None and report.checkpoint.latest.step >= step)
    ranks.kill()
    ranks.wait()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, models: Path, loaded_libraries: None) -> AJob:
    job = without_dropout(tmp_path_factory.mktemp("undisturbed"), models)
    Ranks(job).finish()
    return job


@pytest.mark.parametrize(
    ("before", "after", "per_device", "accumulation"),
    [(1, 2, 4, 1), (2, 1, 2, 4)],
    ids=["one process, then two", "two processes, then one"],
)
def test_another_number_of_processes_goes_on_with_the_same_losses(
    before: int, after: int, per_device: int, accumulation: int, tmp_path: Path, models: Path, undisturbed: AJob
) -> None:
    job = without_dropout(tmp_path, models, per_device=4 if before == 1 else 2)
    kill_after_step(job, before, step=4)
    Ranks(job, after).finish()
    effective = job.report()["effective"]
    assert effective["worldSize"] == after
    assert (effective["perDeviceBatchSize"], effective["gradientAccumulationSteps"]) == (per_device, accumulation)
    assert any("keeps the 8 examples" in reason for reason in effective["because"])
    found = largest_differences(undisturbed, job)
    assert found["loss"] < LOSS
    assert found["weights"] < WEIGHT


def test_processes_that_cannot_share_the_batch_are_told_what_would_do(tmp_path: Path, models: Path) -> None:
    job = without_dropout(tmp_path, models)
    kill_after_step(job, 1, step=2)
    records = Ranks(job, 3).wait()
    (said,) = {record.message for record in records if record is not None and record.kind is EndKind.USER_ERROR}
    assert "began with 8 examples per optimizer step; 3 processes cannot share them evenly" in said
