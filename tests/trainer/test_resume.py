"""A run that was killed, or asked to stop, ends as the undisturbed one: same losses, same weights."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from finetune_api.trainer_contract import EndKind

from .attempts import AJob, Ranks


def largest_differences(one: AJob, other: AJob, file: str = "adapter_model.safetensors") -> dict[str, float]:
    """Of the losses at every step, of the final metrics and of the weights."""
    from safetensors.torch import load_file

    left, right = (dict(map(tuple, job.report()["lossCurve"])) for job in (one, other))
    assert left.keys() == right.keys(), "each step is there once"
    metrics, again = (job.report()["metrics"] for job in (one, other))
    assert metrics.keys() == again.keys() >= {"train_loss", "eval_loss"}
    weights, others = (load_file(job.results.output / file) for job in (one, other))
    assert weights.keys() == others.keys()
    assert weights, "no weights were saved"
    return {
        "loss": max(abs(left[step] - right[step]) for step in left),
        "metrics": max(abs(metrics[name] - again[name]) for name in metrics),
        "weights": max(float((weights[name].float() - others[name].float()).abs().max()) for name in weights),
    }


def assert_same_end(undisturbed: AJob, resumed: AJob) -> None:
    found = largest_differences(undisturbed, resumed)
    print(f"largest differences: {found}")
    assert found == {"loss": 0.0, "metrics": 0.0, "weights": 0.0}, "resuming on a CPU is exact, not only close"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, models: Path, loaded_libraries: None) -> AJob:
    job = AJob.on(tmp_path_factory.mktemp("undisturbed"), models)
    Ranks(job).finish()
    return job


@pytest.mark.parametrize("step", [3, 7], ids=["in the first epoch", "past the first epoch"])
def test_a_killed_run_continues_with_the_same_losses_and_weights(
    step: int, tmp_path: Path, models: Path, undisturbed: AJob
) -> None:
    job = AJob.on(tmp_path, models)
    first = Ranks(job)
    first.wait_for(lambda report: report.step >= step)
    first.kill()
    first.wait()
    assert job.results.complete_report() is None
    Ranks(job).finish()
    assert job.manifests()[-1].run == 2
    assert_same_end(undisturbed, job)


def test_sigterm_leaves_a_checkpoint_from_which_the_next_run_continues_exactly(
    tmp_path: Path, models: Path, undisturbed: AJob
) -> None:
    job = AJob.on(tmp_path, models).with_spec(checkpoint={"everySteps": 1000})
    first = Ranks(job)
    first.wait_for(lambda report: report.step >= 3)
    first.kill(signal.SIGTERM)
    (record,) = first.wait()
    assert record is not None
    assert record.kind is EndKind.INTERRUPTED
    (manifest,) = job.manifests()
    assert f"step {manifest.step}" in record.message
    assert 3 <= manifest.step <= 10
    Ranks(job).finish()
    # Evaluations that come with checkpoints are not part of what is compared.
    assert_same_end(undisturbed, job)


@pytest.fixture(scope="module")
def undisturbed_pair(tmp_path_factory: pytest.TempPathFactory, models: Path, loaded_libraries: None) -> AJob:
    job = AJob.on(tmp_path_factory.mktemp("pair"), models).with_spec(hyperparameters={"perDeviceBatchSize": 2})
    Ranks(job, 2).finish()
    return job


def test_two_processes_learn_what_one_does_with_the_same_effective_batch(
    undisturbed_pair: AJob, undisturbed: AJob
) -> None:
    pair, single = undisturbed_pair.report()["lossCurve"], undisturbed.report()["lossCurve"]
    # Dropout draws differ between the two, so only the size of the loss can be compared.
    assert len(pair) == len(single)
    assert pair[0][1] == pytest.approx(single[0][1], rel=0.01)


def test_two_killed_processes_continue_exactly(tmp_path: Path, models: Path, undisturbed_pair: AJob) -> None:
    job = AJob.on(tmp_path, models).with_spec(hyperparameters={"perDeviceBatchSize": 2})
    first = Ranks(job, 2)
    first.wait_for(lambda report: report.step >= 7)
    first.kill()
    first.wait()
    Ranks(job, 2).finish()
    assert_same_end(undisturbed_pair, job)


def test_sigterm_to_one_of_two_processes_is_agreed_on_by_both(
    tmp_path: Path, models: Path, undisturbed_pair: AJob
) -> None:
    job = AJob.on(tmp_path, models).with_spec(
        hyperparameters={"perDeviceBatchSize": 2}, checkpoint={"everySteps": 1000}
    )
    first = Ranks(job, 2)
    first.wait_for(lambda report: report.step >= 2)
    os.kill(first.pids[1], signal.SIGTERM)
    records = first.wait()
    assert [record.kind for record in records if record] == [EndKind.INTERRUPTED, EndKind.INTERRUPTED]
    (manifest,) = job.manifests()
    assert manifest.world_size == 2
    Ranks(job, 2).finish()
    assert_same_end(undisturbed_pair, job)


def test_a_resumed_run_reads_no_row_that_it_passes_over(tmp_path: Path, models: Path) -> None:
    read = tmp_path / "batches-read"

    def note_what_is_read() -> None:
        from finetune_trainer.batches import Collator

        collate = Collator.__call__

        def noted(self: Collator, rows: list[Any]) -> Any:
            with read.open("a") as file:
                file.write(f"{len(rows)}\n")
            return collate(self, rows)

        Collator.__call__ = noted  # type: ignore[method-assign]  # in the forked rank only

    job = AJob.on(tmp_path, models).with_spec(
        dataset={"split": {"validation": 0.0}}, hyperparameters={"epochs": 4.0}, checkpoint={"everySteps": 5}
    )
    first = Ranks(job)
    first.wait_for(lambda report: report.step >= 6)
    first.kill()
    first.wait()
    done = job.manifests()[-1].step
    Ranks(job, before=note_what_is_read).finish()
    steps = [step for step, _ in job.report()["lossCurve"]]
    assert steps == list(range(1, 25)), "48 rows, 8 a step, 4 epochs"
    assert done % 6, "it continues in the middle of an epoch"
    rows = sum(map(int, read.read_text().split()))
    assert rows == (24 - done) * 8
