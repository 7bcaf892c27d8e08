"""A job that starts from another one's checkpoint: the same losses from there on, and nothing written where it lies."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from finetune_api.trainer_contract import EndKind
from finetune_trainer import checkpoints

from .attempts import AJob, Ranks
from .test_chain import named, refused
from .test_resume import assert_same_end, largest_differences

STEP = 4


def contents(directory: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file."""
    files = [file for file in directory.rglob("*") if file.is_file()]
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, models: Path, loaded_libraries: None) -> AJob:
    """A finished job that has kept all its checkpoints: of the steps 2, 4, 6, 8 and 10."""
    job = AJob.on(tmp_path_factory.mktemp("branch"), models).with_spec(checkpoint={"keep": 100})
    job = named(job, "source")
    Ranks(job).finish()
    assert [manifest.step for manifest in job.manifests()] == [2, 4, 6, 8, 10]
    return job


def branch(source: AJob, name: str, results: Path | None = None, step: int | None = STEP) -> AJob:
    """The same job from that step on, under another name."""
    start = {"job": {"name": "source"}, "step": step}
    job = named(source, name).with_spec(
        checkpoint={"from": {key: value for key, value in start.items() if value is not None}}
    )
    return job.with_config(mounts={**job.config.mounts.dump(), "jobs": {"source": str(results or source.results.root)}})


def curve(job: AJob) -> dict[int, float]:
    return dict(map(tuple, job.report()["lossCurve"]))


def test_a_branch_with_the_same_settings_has_the_losses_of_the_job_that_it_left(source: AJob) -> None:
    before = contents(source.results.root)
    job = branch(source, "same")
    Ranks(job).finish()
    assert_same_end(source, job)
    assert job.report()["run"] == 1
    assert contents(source.results.root) == before
    # It did the steps after the fourth, and no others.
    assert [line for line in (job.results.logs / "train.log").read_text().splitlines() if " step 4/" in line] == []


def test_a_branch_with_other_numbers_uses_its_own(source: AJob) -> None:
    job = branch(source, "slower").with_spec(
        hyperparameters={"learningRate": 0.001, "scheduler": "constant", "weightDecay": 0.1, "epochs": 3.0}
    )
    Ranks(job).finish()
    left, right = curve(source), curve(job)
    assert {step: right[step] for step in range(1, STEP + 2)} == {step: left[step] for step in range(1, STEP + 2)}
    assert right[STEP + 2] != left[STEP + 2]
    assert max(right) == 15
    rates = {entry["step"]: entry["learning_rate"] for entry in _metrics(job) if "learning_rate" in entry}
    assert {rates[step] for step in rates if step > STEP} == {0.001}
    assert rates[STEP] != 0.001


def test_a_branch_that_was_killed_goes_on_from_its_own_checkpoints(source: AJob, tmp_path: Path) -> None:
    there = tmp_path / "source"
    shutil.copytree(source.results.root, there)
    job = branch(source, "killed", there)
    first = Ranks(job)
    first.wait_for(lambda report: report.step >= STEP + 1)
    first.kill()
    first.wait()
    shutil.rmtree(there / "checkpoints")  # as when that job goes on and its rotation takes it
    Ranks(job).finish()
    assert_same_end(source, job)


def test_without_a_step_the_newest_is_taken(source: AJob) -> None:
    job = branch(source, "newest", step=None).with_spec(hyperparameters={"epochs": 2.4})
    Ranks(job).finish()
    assert min(step for step in _steps_of_run(job, 1)) == 11


def test_a_step_that_is_not_there_is_refused_with_those_that_are(source: AJob) -> None:
    said = refused(branch(source, "missing", step=5))
    assert "job source has no checkpoint of step 5" in said
    assert "2, 4, 6, 8, 10" in said


def torn_copy(source: AJob, directory: Path, how: str) -> Path:
    copy = directory / "source"
    shutil.copytree(source.results.root, copy)
    (checkpoint,) = (copy / "checkpoints").glob(f"step-{STEP:08d}-r*")
    weights = checkpoint / "adapter_model.safetensors"
    content = weights.read_bytes()
    if how == "no manifest":
        (checkpoint / checkpoints.MANIFEST).unlink()
    elif how == "cut short":
        weights.write_bytes(content[:-100])
    else:
        weights.write_bytes(content[:-100] + bytes(100))
    return copy


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("no manifest", "no manifest.json"),
        ("cut short", "files are missing or cut short"),
        ("other content", "the content of adapter_model.safetensors is not what was written"),
    ],
)
def test_a_torn_checkpoint_is_refused_with_the_reason(how: str, reason: str, source: AJob, tmp_path: Path) -> None:
    there = torn_copy(source, tmp_path, how)
    job = branch(source, f"torn-{how.replace(' ', '-')}", there)
    before = contents(there)
    said = refused(job)
    assert "is torn" in said
    assert reason in said
    assert "2, 6, 8, 10" in said or how == "other content"
    assert contents(there) == before, "nothing is set aside in another job's directory"
    assert job.manifests() == []


@pytest.mark.parametrize(
    ("block", "change", "said"),
    [
        ("tuning", {"rank": 8}, "tuning.rank is 4 there and 8 here"),
        ("hyperparameters", {"optimizer": "adafactor"}, "hyperparameters.optimizer is adamw_torch_fused there"),
        ("model", {"claim": {"name": "models", "path": "./tiny"}}, "model.claim"),
    ],
    ids=["tuning", "optimizer", "model"],
)
def test_what_a_checkpoint_does_not_fit_is_named(
    block: str, change: dict[str, object], said: str, source: AJob
) -> None:
    job = branch(source, f"astray-{block}").with_spec(**{block: change})
    assert said in refused(job)


def test_a_branch_that_has_no_steps_left_is_told_so(source: AJob) -> None:
    said = refused(branch(source, "over", step=10))
    assert "is of step 10, and this job has 10 steps in all" in said


def test_a_checkpoint_on_a_claim_is_named_by_its_directory(source: AJob) -> None:
    (checkpoint,) = source.results.checkpoints.glob(f"step-{STEP:08d}-r*")
    job = named(source, "claimed").with_spec(
        checkpoint={"from": {"claim": {"name": "old", "path": f"checkpoints/{checkpoint.name}"}}}
    )
    mounts = job.config.mounts.dump()
    mounts["claims"] |= {"old": str(source.results.root)}
    job = job.with_config(mounts=mounts)
    Ranks(job).finish()
    assert_same_end(source, job)


def test_a_checkpoint_without_its_jobs_figures_begins_a_curve_there(source: AJob, tmp_path: Path) -> None:
    (checkpoint,) = source.results.checkpoints.glob(f"step-{STEP:08d}-r*")
    shutil.copytree(checkpoint, tmp_path / "alone" / checkpoint.name)
    job = named(source, "alone").with_spec(
        checkpoint={"from": {"claim": {"name": "old", "path": f"alone/{checkpoint.name}"}}}
    )
    mounts = job.config.mounts.dump()
    mounts["claims"] |= {"old": str(tmp_path)}
    job = job.with_config(mounts=mounts)
    Ranks(job).finish()
    left, right = curve(source), curve(job)
    assert right == {step: loss for step, loss in left.items() if step > STEP}
    mean = sum(right.values()) / len(right)
    assert job.report()["metrics"]["train_loss"] == pytest.approx(mean)


def test_the_directory_of_a_claim_that_is_no_checkpoint_is_refused(source: AJob) -> None:
    job = named(source, "no-checkpoint").with_spec(checkpoint={"from": {"claim": {"name": "models", "path": "tiny"}}})
    assert "tiny on claim models is torn: no manifest.json" in refused(job)


def test_two_processes_branch_from_what_one_has_written(source: AJob) -> None:
    """With dropout 0 the arithmetic is the same but for the order of sums."""
    still = named(replace(source), "still").with_spec(tuning={"dropout": 0.0})
    Ranks(still).finish()
    job = branch(still, "pair", still.results.root).with_spec(
        tuning={"dropout": 0.0}, hyperparameters={"perDeviceBatchSize": 2}
    )
    ranks = Ranks(job, 2)
    records = ranks.wait()
    assert all(record is not None and record.kind is EndKind.FINISHED for record in records), ranks.log()
    found = largest_differences(still, job)
    assert found["loss"] < 1e-3
    assert found["weights"] < 1e-2


def _metrics(job: AJob) -> list[dict[str, float]]:
    from finetune_trainer.completion import read_metrics

    return read_metrics(job.results)


def _steps_of_run(job: AJob, run: int) -> list[int]:
    return [int(entry["step"]) for entry in _metrics(job) if entry["run"] == run and "loss" in entry]
