"""Saving beside the training: what a checkpoint costs is told, a torn one is reported, and the right ones are kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finetune_api.trainer_contract import CheckpointInfo, CheckpointState, EndKind, ProgressReport, Saves
from finetune_trainer import checkpoints, staging
from finetune_trainer.endpoint import prometheus_text
from finetune_trainer.records import read_progress

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
