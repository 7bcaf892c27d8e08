"""Saving beside the training: what a checkpoint costs is told, and what goes wrong costs the checkpoint only."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune_api.trainer_contract import (
    AttemptRecord,
    CheckpointInfo,
    CheckpointState,
    EndKind,
    ProgressReport,
    Saves,
)
from finetune_trainer import checkpoints, fencing, memory, staging, supervisor
from finetune_trainer.completion import read_metrics
from finetune_trainer.endpoint import prometheus_text
from finetune_trainer.errors import ConfigError, FencedOff
from finetune_trainer.fencing import RunClaim
from finetune_trainer.heartbeats import Heartbeat
from finetune_trainer.interruption import Interruption
from finetune_trainer.progress import Journal, Progress, TrainLog
from finetune_trainer.rank import Rank
from finetune_trainer.records import read_progress
from finetune_trainer.results import Results

from .attempts import AJob, Ranks
from .test_resume import assert_same_end


def test_time_and_size_of_saving_are_metrics() -> None:
    newest = CheckpointInfo(step=40, bytes=1234, seconds=2.5)
    report = ProgressReport(
        uid="uid-1", attempt=1, run=1, stage="Training", updated_at="2026-01-02T03:04:05Z",
        checkpoint=CheckpointState(latest=newest, count=2),
        saves=Saves(written=4, failed=1, bytes=4936, seconds=9.5, stall_seconds=0.5),
    )  # fmt: skip
    lines = prometheus_text(report).decode().splitlines()
    assert {
        "# TYPE finetune_trainer_checkpoint_saves_total counter",
        "finetune_trainer_checkpoint_saves_total 4",
        "finetune_trainer_checkpoint_failures_total 1",
        "finetune_trainer_checkpoint_bytes_total 4936",
        "finetune_trainer_checkpoint_save_seconds_total 9.5",
        "finetune_trainer_checkpoint_stall_seconds_total 0.5",
        "finetune_trainer_checkpoint_step 40",
        "finetune_trainer_checkpoint_bytes 1234",
        "finetune_trainer_checkpoint_save_seconds 2.5",
    } <= set(lines)


# -- in the background


def hold_back_the_volume_until(gate: Path) -> Callable[[], None]:
    """In a rank: what is brought to the volume waits until the file is there, as behind a slow disk."""

    def hold() -> None:
        import time

        bring = staging.Part.bring

        def held(self: staging.Part, *arguments: Any) -> Any:
            while not gate.exists():
                time.sleep(0.01)
            return bring(self, *arguments)

        staging.Part.bring = held  # type: ignore[method-assign]  # in the forked rank only

    return hold


def test_training_goes_on_while_a_checkpoint_is_brought_to_a_slow_volume(tmp_path: Path, models: Path) -> None:
    gate = tmp_path / "gate"
    job = AJob.on(tmp_path, models).with_spec(checkpoint={"everySteps": 6})
    ranks = Ranks(job, before=hold_back_the_volume_until(gate))
    ranks.wait_for(lambda report: report.step >= 9)
    assert job.manifests() == [], "three steps were done since, and nothing is on the volume"
    gate.touch()
    ranks.finish()
    told = read_progress(ranks.scratch)
    assert told is not None
    assert told.saves.written == len(job.manifests()) > 1
    assert told.saves.failed == 0
    assert told.saves.bytes == sum(file.bytes for manifest in job.manifests() for file in manifest.files)
    assert 0 < told.saves.stall_seconds <= told.saves.seconds
    assert all(manifest.seconds is not None for manifest in job.manifests())
    assert told.checkpoint.latest is not None
    assert told.checkpoint.latest.seconds == job.manifests()[-1].seconds


def test_a_snapshot_is_of_its_own_step_however_late_it_is_written(tmp_path: Path, models: Path) -> None:
    late, at_once = AJob.on(tmp_path / "late", models), AJob.on(tmp_path / "at once", models)
    jobs = [job.with_spec(checkpoint={"everySteps": 6, "keep": 5}) for job in (late, at_once)]
    gate = tmp_path / "gate"
    ranks = Ranks(jobs[0], before=hold_back_the_volume_until(gate))
    ranks.wait_for(lambda report: report.step >= 9)
    gate.touch()
    ranks.finish()
    Ranks(jobs[1], before=write_to_the_volume_at_once).finish()
    kept, again = (
        {
            file.path: file.xxh3
            for file in next(m for m in job.manifests() if m.step == 6).files
            if not file.path.startswith("training_args")  # holds paths
        }
        for job in jobs
    )
    assert {"adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt"} <= kept.keys()
    assert kept == again


def write_to_the_volume_at_once() -> None:
    staging.room = lambda: 0


def test_without_room_in_memory_the_files_are_written_to_the_volume(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models)
    Ranks(job, before=write_to_the_volume_at_once).finish()
    assert [manifest.step for manifest in job.manifests()][-1] == 10
    assert not any("could not be written" in warning for warning in job.report()["warnings"])


def test_sigterm_waits_for_the_checkpoint_that_is_on_its_way(tmp_path: Path, models: Path) -> None:
    gate = tmp_path / "gate"
    job = AJob.on(tmp_path, models).with_spec(checkpoint={"everySteps": 6})
    ranks = Ranks(job, before=hold_back_the_volume_until(gate))
    ranks.wait_for(lambda report: report.step >= 6)
    ranks.kill(signal.SIGTERM)
    threading.Timer(0.5, gate.touch).start()
    (record,) = ranks.wait()
    assert record is not None
    assert record.kind is EndKind.INTERRUPTED
    assert "a checkpoint was written" in record.message
    steps = [manifest.step for manifest in job.manifests()]
    assert steps[0] == 6
    assert record.message.split()[3].rstrip(":") == str(steps[-1])


# -- several nodes, and what is torn


def test_on_another_node_a_rank_finds_the_directory_of_the_run(tmp_path: Path, models: Path) -> None:
    def as_on_two_nodes() -> None:
        if os.environ["RANK"] == "1":
            os.environ["FINETUNE_RUN"] = "0"  # only the supervisor of node 0 has claimed a number

    job = AJob.on(tmp_path, models).with_spec(hyperparameters={"perDeviceBatchSize": 2, "epochs": 1.0})
    Ranks(job, 2, before=as_on_two_nodes).finish()
    files = {file.path for file in job.manifests()[-1].files}
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt"} <= files


def test_a_torn_checkpoint_costs_its_steps_and_is_reported(tmp_path: Path, models: Path) -> None:
    undisturbed = AJob.on(tmp_path / "undisturbed", models)
    Ranks(undisturbed).finish()
    job = AJob.on(tmp_path / "torn", models)
    ranks = Ranks(job)
    ranks.wait_for(lambda report: report.checkpoint.count >= 2)
    ranks.kill()
    ranks.wait()
    newest, before = (checkpoint.path for checkpoint in reversed(checkpoints.complete(job.results.checkpoints)[-2:]))
    os.truncate(newest / "optimizer.pt", 100)
    again = Ranks(job)
    again.wait_for(lambda report: report.from_step > 0)
    told = read_progress(again.scratch)
    assert told is not None
    assert checkpoints.directory_name(told.from_step, 1) == before.name
    again.finish()
    assert any(f"Checkpoint {newest.name} is torn" in warning for warning in job.report()["warnings"])
    assert_same_end(undisturbed, job)


# -- which are kept


def test_the_newest_and_the_best_are_kept(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models).with_spec(
        tuning={"type": "Full", "rank": None, "dropout": None},
        hyperparameters={"learningRate": 0.3, "epochs": 2.0, "warmupRatio": 0.0, "scheduler": "constant"},
        evaluation={"everySteps": 1}, checkpoint={"everySteps": 1, "keep": 2, "keepBest": True},
    )  # fmt: skip
    ranks = Ranks(job)
    ranks.finish()
    values = dict(map(tuple, job.report()["evaluationCurve"]))
    best = min(values, key=lambda step: (values[step], step))
    last = job.report()["steps"]
    assert best < last - 1, "the test needs a job that gets worse"
    assert [manifest.step for manifest in job.manifests()] == [best, last - 1, last]
    told = read_progress(ranks.scratch)
    assert told is not None
    assert told.checkpoint.best is not None
    assert (told.checkpoint.best.step, told.checkpoint.best.value) == (best, values[best])
    assert job.report()["outputStep"] == last, "the best one is the output only where early stopping was asked for"


# -- a disk that takes no more


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


# -- memory


def test_no_more_memory_is_taken_than_the_container_may_have(tmp_path: Path) -> None:
    machine = tmp_path / "meminfo"
    machine.write_text("MemTotal: 16000 kB\nMemAvailable: 8000 kB\n")
    assert memory.available_bytes(tmp_path, machine) == 8_192_000
    for name, text in {
        "memory.max": "5000000", "memory.current": "4000000", "memory.stat": "anon 3\ninactive_file 500000\n"
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    assert memory.available_bytes(tmp_path, machine) == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes(tmp_path, machine) == 8_192_000


def test_what_is_written_to_memory_has_no_name_there(tmp_path: Path) -> None:
    def write(directory: Path) -> None:
        (directory / "below").mkdir()
        (directory / "below" / "file").write_bytes(b"content")

    name = f"finetune-test-{os.getpid()}"
    part = staging.write_in_memory(name, write)
    assert not list(staging.MEMORY.glob(f"*{name}"))
    (file,) = part.bring(tmp_path / "place", lambda _: None)
    assert (tmp_path / "place" / "below" / "file").read_bytes() == b"content"
    assert (file.path, file.bytes) == ("below/file", 7)
    assert checkpoints.digest_of(tmp_path / "place" / "below" / "file") == file.xxh3


def test_what_a_killed_process_left_in_memory_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    reader, writer = os.pipe()

    def write(directory: Path) -> None:
        (directory / "file").write_bytes(b"content")
        os.write(writer, b".")
        threading.Event().wait()

    name = f"finetune-test-{os.getpid()}"
    pid = os.fork()
    if pid == 0:
        staging.write_in_memory(name, write)
    os.read(reader, 1)
    staging.clear()
    (left,) = staging.MEMORY.glob(f"*{name}")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert left.is_dir()
    staging.clear()
    assert not left.exists()
