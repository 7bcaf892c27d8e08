"""A disk that takes no more costs what could not be written, neither the training nor what was there before."""

from __future__ import annotations

import errno
import logging
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune_api.trainer_contract import AttemptRecord, EndKind
from finetune_trainer import checkpoints, fencing, staging, supervisor
from finetune_trainer.completion import read_metrics
from finetune_trainer.errors import ConfigError, FencedOff
from finetune_trainer.fencing import RunClaim
from finetune_trainer.heartbeats import Heartbeat
from finetune_trainer.interruption import Interruption
from finetune_trainer.progress import Journal, Progress, TrainLog
from finetune_trainer.rank import Rank
from finetune_trainer.records import read_progress
from finetune_trainer.results import Results

from .attempts import AJob, Ranks


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB; only root may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False
    ).returncode
    if mounted != 0:
        pytest.skip("a file system of its own needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(directory: Path, leave: int) -> Path:
    """Takes all but `leave` bytes of the file system."""
    filler = directory / "filler"
    free = os.statvfs(directory)
    filler.write_bytes(b"\0" * (free.f_bavail * free.f_frsize - leave))
    return filler


def test_a_full_volume_costs_checkpoints_and_neither_the_training_nor_those_before(
    small_volume: Path, models: Path
) -> None:
    job = AJob.on(small_volume, models).with_spec(hyperparameters={"epochs": 6.0}, checkpoint={"everySteps": 4})
    ranks = Ranks(job)
    ranks.wait_for(lambda report: report.checkpoint.count >= 1)
    filler = fill(small_volume, leave=64 * 1024)
    good = job.manifests()[-1].step
    ranks.wait_for(lambda report: report.saves.failed >= 1)
    assert checkpoints.complete(job.results.checkpoints)[-1].step >= good
    told = read_progress(ranks.scratch)
    assert told is not None
    assert any("could not be written" in text and "No space left" in text for text in told.warnings)
    filler.unlink()
    ranks.finish()
    manifests = job.manifests()
    assert manifests[-1].step == job.report()["steps"] > good
    assert any("No space left" in warning for warning in job.report()["warnings"])


def test_a_volume_without_room_for_the_record_of_a_run_is_named(
    small_volume: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = AJob.on(small_volume, models)
    filler = fill(small_volume, leave=0)
    said = tmp_path / "termination-log"
    monkeypatch.setenv("FINETUNE_CONFIG", job.config.encode())
    monkeypatch.setenv("FINETUNE_TERMINATION_MESSAGE", str(said))
    code = supervisor.main()
    filler.unlink()
    record = AttemptRecord.load(said.read_bytes())
    assert (code, record.kind, record.cause) == (1, EndKind.INTERNAL_ERROR, "VolumeFull")
    assert "full" in record.message
    assert "Free space" in record.advice


@pytest.mark.parametrize(
    ("number", "raised"), [(errno.EIO, OSError), (errno.ESTALE, OSError), (errno.EACCES, ConfigError)]
)
def test_a_volume_that_does_not_answer_at_the_moment_is_nobodys_mistake(
    number: int, raised: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as volume:
        volume.setattr(Path, "mkdir", refuse)
        with pytest.raises(raised):
            Results(tmp_path / "fingerprint").create()


def test_a_disk_that_is_full_in_the_background_costs_the_checkpoint_only(tmp_path: Path, models: Path) -> None:
    """The kernel refuses what the saving thread writes, by a limit on the size of files that needs no root."""

    def refuse_at_step_4() -> None:
        bring = staging.Part.bring

        def limited(self: staging.Part, place: Path, *arguments: Any) -> Any:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000 if "step-00000004" in place.name else hard, hard))
            try:
                return bring(self, place, *arguments)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

        staging.Part.bring = limited  # type: ignore[method-assign]  # in the forked rank only

    job = AJob.on(tmp_path, models).with_spec(checkpoint={"keep": 10})
    ranks = Ranks(job, before=refuse_at_step_4)
    ranks.finish()
    steps = [manifest.step for manifest in job.manifests()]
    assert 4 not in steps
    assert {2, 6} <= set(steps)
    told = read_progress(ranks.scratch)
    assert told is not None
    assert told.saves.failed == 1
    assert any("step 4 could not be written" in warning for warning in job.report()["warnings"])
    assert not list(job.results.work.glob("*/step-*")), "what was begun is taken away"


@pytest.fixture
def rank(tmp_path: Path, models: Path) -> Rank:
    """Rank 0 of a run, in this process."""
    job = AJob.on(tmp_path, models)
    job.results.create()
    return Rank(
        config=job.config, number=0, local_number=0, world_size=1, run=RunClaim.take(job.results, job.config).number,
        scratch=tmp_path, heartbeat=Heartbeat(tmp_path / "heartbeat"), interruption=Interruption(),
    )  # fmt: skip


def full(*_: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_full_when_a_run_begins_costs_neither_the_run_nor_its_figures(
    rank: Rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results.of(rank.config)
    claim = RunClaim(results, rank.run)
    with monkeypatch.context() as disk:
        disk.setattr(RunClaim, "replace", full)
        TrainLog(results, claim).emit(logging.makeLogRecord({"msg": "a line"}))
        journal = Journal(results, claim, 0, tensor_board=False)
        journal.add(1, {"loss": 3.0})
    assert not results.metrics.exists()
    journal.add(2, {"loss": 2.0})
    journal.add(3, {"loss": 1.0})
    assert [entry["loss"] for entry in read_metrics(results)] == [3.0, 2.0, 1.0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's own thread
def test_a_run_that_begins_on_a_full_volume_loses_tensorboards_events_and_no_figures(
    small_volume: Path, models: Path
) -> None:
    job = AJob.on(small_volume, models)
    job.results.create()
    claim = RunClaim.take(job.results, job.config)
    filler = fill(small_volume, leave=0)
    journal = Journal(job.results, claim, 0, tensor_board=True)
    journal.add(1, {"loss": 3.0})
    assert read_metrics(job.results) == []
    filler.unlink()
    journal.close()
    assert [entry["loss"] for entry in read_metrics(job.results)] == [3.0]


def test_what_cannot_be_shown_or_looked_at_at_the_moment_stops_no_training(
    rank: Rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune_trainer import progress as shown
    from finetune_trainer import saving
    from finetune_trainer.world import World

    progress = Progress(rank)
    monkeypatch.setattr(shown, "write_atomically", full)
    progress.update(now=True, step=3)
    assert progress.report.step == 3

    monkeypatch.setattr(saving, "SECONDS_BETWEEN_CHECKS", -1.0)
    keeping = saving.Keeping(keep=2, keep_best=False, metric="eval_loss", greater_is_better=False)
    writer = saving.CheckpointWriter(rank, World(rank, torch.device("cpu")), Results.of(rank.config), progress, keeping)
    with monkeypatch.context() as volume:
        volume.setattr(fencing, "newest_run", full)
        writer.look()
    RunClaim.take(Results.of(rank.config), rank.config)
    with pytest.raises(FencedOff):
        writer.look()
