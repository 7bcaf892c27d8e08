"""A loss that is not finite: the job goes back before it once, and learns from other rows than those that led to it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from finetune_api.trainer_contract import CheckpointManifest, EndKind
from finetune_trainer import checkpoints
from finetune_trainer.batches import BatchOrder, BatchSplit
from finetune_trainer.completion import read_metrics

from .attempts import AJob, Ranks, write_rows
from .tiny_model import make_tiny_model

BROKEN = "~"


@pytest.mark.parametrize("rows", [20, 23], ids=["full steps", "a short step at the end of each epoch"])
def test_passing_over_steps_moves_all_later_ones_forward(rows: int) -> None:
    split = BatchSplit(per_device=2, accumulation=2, world_size=1)
    plain, moved = (BatchOrder([5] * rows, split, 0, 42, like_length=True) for _ in range(2))
    moved.pass_over(3, 5)
    before = [plain.steps(epoch) for epoch in range(4)]
    after = [moved.steps(epoch) for epoch in range(3)]
    assert [[len(step) for step in epoch] for epoch in after] == [[len(step) for step in epoch] for epoch in before[:3]]
    everything, learnt = ([step for epoch in epochs for step in epoch if len(step) == 4] for epochs in (before, after))
    assert learnt == [*everything[:3], *everything[5:]][: len(learnt)]


def test_short_steps_that_are_passed_over_move_among_themselves() -> None:
    split = BatchSplit(per_device=2, accumulation=2, world_size=1)
    plain, moved = (BatchOrder([5] * 10, split, 0, 42, like_length=True) for _ in range(2))
    moved.pass_over(1, 3)
    assert [len(step) for step in plain.steps(0)] == [4, 4, 2]
    assert moved.steps(0) == [plain.steps(0)[0], plain.steps(1)[0], plain.steps(1)[2]]
    assert moved.steps(1) == [plain.steps(1)[1], plain.steps(2)[0], plain.steps(2)[2]]


@pytest.fixture(scope="module")
def broken_models(tmp_path_factory: pytest.TempPathFactory, loaded_libraries: None) -> Path:
    """A model with an embedding that overflowed."""
    directory = tmp_path_factory.mktemp("broken")
    make_tiny_model(directory / "tiny", broken_character=BROKEN)
    return directory


def a_job_that_diverges(volume: Path, models: Path, *, broken_rows: tuple[int, ...], **checkpoint: Any) -> AJob:
    """One epoch of 12 steps; the given rows contain the character that the model cannot take."""
    job = AJob.on(volume, models).with_spec(
        dataset={"split": {"validation": 0.0}}, hyperparameters={"epochs": 1.0}, checkpoint={"keep": 3, **checkpoint}
    )
    source = write_rows(volume / "data" / "train.jsonl", 96)
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    for number in broken_rows:
        rows[number]["output"] += BROKEN
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return job


def end_of(job: AJob, kind: EndKind) -> str:
    ranks = Ranks(job)
    (record,) = ranks.wait()
    assert record is not None
    assert record.kind is kind, ranks.log()
    return record.message


def diverged_step(message: str) -> int:
    return next(int(word) for word in message.split() if word.isdecimal())


def test_a_job_goes_back_before_a_divergence_and_finishes(tmp_path: Path, broken_models: Path) -> None:
    job = a_job_that_diverges(tmp_path, broken_models, broken_rows=(30,))
    diverged = diverged_step(end_of(job, EndKind.DIVERGED))
    newest = job.manifests()[-1].step
    assert 0 < newest < diverged
    again = job.with_config(attempt=2, divergedAt=diverged)
    end_of(again, EndKind.FINISHED)
    report = again.report()
    assert [step for step, _ in report["lossCurve"]] == list(range(1, 13))
    assert all(math.isfinite(loss) for _, loss in report["lossCurve"])
    assert any(f"went back to step {newest} once" in warning for warning in report["warnings"])


def test_a_job_without_a_checkpoint_goes_back_to_its_beginning_and_its_record_says_so(
    tmp_path: Path, broken_models: Path
) -> None:
    job = a_job_that_diverges(tmp_path, broken_models, broken_rows=(90,), everySteps=1000).with_spec(
        dataset={"split": {"validation": 0.05}}, evaluation={"compareWithBase": True, "everySteps": 1000}
    )
    diverged = diverged_step(end_of(job, EndKind.DIVERGED))
    assert job.manifests() == []
    again = job.with_config(attempt=2, divergedAt=diverged)
    end_of(again, EndKind.FINISHED)
    went_back = {"divergedAt": diverged, "toStep": 0, "run": 2}
    record, report = again.results.read_run_record(), again.report()
    assert record is not None
    assert record.rewind is not None
    assert record.rewind.dump() == report["rewind"] == went_back
    assert any("went back to step 0 once" in warning for warning in report["warnings"])
    assert "went back to step 0 once" in (again.results.logs / "train.log").read_text()
    entries = read_metrics(again.results)
    assert [entry["step"] for entry in entries if "loss" in entry] == list(range(1, report["steps"] + 1))
    assert {entry["run"] for entry in entries} == {2}
    assert len([entry for entry in entries if "base_eval_loss" in entry]) == 1, "measured again, and once"


def test_a_job_that_went_back_is_killed_and_continues_with_the_same_rows(tmp_path: Path, broken_models: Path) -> None:
    curves = []
    for disturbed in (False, True):
        job = a_job_that_diverges(tmp_path / str(disturbed), broken_models, broken_rows=(30,))
        again = job.with_config(attempt=2, divergedAt=diverged_step(end_of(job, EndKind.DIVERGED)))
        if disturbed:
            ranks = Ranks(again)
            ranks.wait_for(lambda report: report.step >= 9)
            ranks.kill()
            ranks.wait()
        end_of(again, EndKind.FINISHED)
        curves.append(again.report()["lossCurve"])
    assert curves[0] == curves[1]


def test_a_checkpoint_of_numbers_that_are_not_finite_is_passed_over(tmp_path: Path, broken_models: Path) -> None:
    job = a_job_that_diverges(tmp_path, broken_models, broken_rows=(30,), everySteps=1)
    diverged = diverged_step(end_of(job, EndKind.DIVERGED))
    spoilt, before = (manifest.step for manifest in reversed(job.manifests()[-2:]))
    spoil(job, spoilt)
    again = job.with_config(attempt=2, divergedAt=diverged)
    end_of(again, EndKind.FINISHED)
    warnings = again.report()["warnings"]
    assert any(f"step-{spoilt:08d}-r1 holds numbers that are not finite" in warning for warning in warnings)
    assert any(f"went back to step {before} once" in warning for warning in warnings)


def spoil(job: AJob, step: int) -> None:
    """Makes the checkpoint one of a model that has diverged already: complete, and of no use."""
    from safetensors.torch import load_file, save_file

    directory = job.results.checkpoints / checkpoints.directory_name(step, 1)
    file = directory / "adapter_model.safetensors"
    weights = load_file(file)
    next(iter(weights.values())).fill_(math.nan)
    save_file(weights, file, {"format": "pt"})
    manifest = CheckpointManifest.load((directory / checkpoints.MANIFEST).read_bytes())
    (directory / checkpoints.MANIFEST).unlink()
    described = manifest.model_copy(update={"files": checkpoints.sealed(directory)})
    (directory / checkpoints.MANIFEST).write_text(json.dumps(described.dump()))


def test_without_going_back_it_diverges_at_the_same_step_again(tmp_path: Path, broken_models: Path) -> None:
    job = a_job_that_diverges(tmp_path, broken_models, broken_rows=(30,))
    assert diverged_step(end_of(job, EndKind.DIVERGED)) == diverged_step(end_of(job, EndKind.DIVERGED))
