"""What one attempt does from the configuration to the output: run in real rank processes on a tiny model."""

from __future__ import annotations

import ctypes
import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from finetune_api.trainer_contract import EndKind, RunRecord
from finetune_trainer.completion import already_complete, read_metrics, rebuilt_record
from finetune_trainer.fencing import RunClaim
from finetune_trainer.results import newest_run

from .attempts import AJob, Ranks, write_rows

pytestmark = pytest.mark.usefixtures("loaded_libraries")


def end_of(job: AJob, before: Any = None) -> Any:
    ranks = Ranks(job, before=before)
    (record,) = ranks.wait()
    assert record is not None, ranks.log()
    record.details["log"] = ranks.log()
    return record


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, models: Path, loaded_libraries: None) -> AJob:
    """A LoRA job that has finished."""
    job = AJob.on(tmp_path_factory.mktemp("finished"), models).with_spec(
        evaluation={"compareWithBase": True, "metrics": ["Perplexity"]}, tracking={"tensorBoard": True}
    )
    Ranks(job).finish()
    return job


class TestAFinishedLoRAJob:
    """Everything that is to be seen after one good run; it runs once."""

    def test_the_tuned_model_is_better_than_its_base(self, job: AJob) -> None:
        metrics = job.report()["metrics"]
        assert metrics["eval_loss"] < metrics["base_eval_loss"]
        assert metrics["eval_perplexity"] < metrics["base_eval_perplexity"]

    def test_the_report_has_the_whole_loss_curve(self, job: AJob) -> None:
        report = job.report()
        assert [step for step, _ in report["lossCurve"]] == list(range(1, report["steps"] + 1))
        assert report["effective"]["precision"] == "FP32"
        assert report["versions"]["torch"]

    def test_the_group_may_read_what_it_left(self, job: AJob) -> None:
        results = job.results
        files = [file for place in (results.output, results.checkpoints) for file in place.rglob("*") if file.is_file()]
        assert "adapter_model.safetensors" in {file.name for file in files}
        assert [file for file in files if not file.stat().st_mode & stat.S_IRGRP] == []

    def test_the_adapter_loads_with_peft_and_gives_the_reported_loss(self, job: AJob, models: Path) -> None:
        import torch
        from datasets import Dataset
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from finetune_trainer.data import prepare

        model = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(models / "tiny"), job.results.output
        ).eval()
        tokenizer = AutoTokenizer.from_pretrained(job.results.output)
        data = prepare(
            job.config, tokenizer, maximum_length=256, heartbeat=lambda _: None, cache_directory=job.volume / "again"
        )
        assert isinstance(data.validation, Dataset)
        total, count = 0.0, 0
        for row in data.validation:
            labels = torch.tensor([row["labels"]])
            tokens = int(labels[:, 1:].ne(-100).sum())
            with torch.no_grad():
                total += float(model(input_ids=torch.tensor([row["input_ids"]]), labels=labels).loss) * tokens
            count += tokens
        assert total / count == pytest.approx(job.report()["metrics"]["eval_loss"], rel=1e-4)
        prompt = tokenizer("What is 3 plus 3?", return_tensors="pt")
        assert model.generate(**prompt, max_new_tokens=3, do_sample=False).shape[1] > prompt["input_ids"].shape[1]

    def test_the_files_that_people_look_for_are_there(self, job: AJob) -> None:
        names = {path.name for path in job.results.output.iterdir()}
        assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "README.md"} <= names
        assert "report.json" in names
        assert list(job.results.logs.glob("events.out.tfevents.*"))
        assert (job.results.logs / "train.log").read_text().count("step ") > 3
        card = (job.results.output / "README.md").read_text()
        assert "PeftModel.from_pretrained" in card
        assert "eval_loss" in card

    def test_nothing_half_done_is_left(self, job: AJob) -> None:
        assert not list(job.results.work.glob("*/output"))
        assert not job.results.cache.exists()
        assert len(job.manifests()) <= 3

    def test_the_example_that_is_learnt_was_logged(self, job: AJob) -> None:
        assert "«" in (job.results.logs / "train.log").read_text()

    def test_the_same_fingerprint_is_complete_for_another_job(self, job: AJob) -> None:
        record = already_complete(job.config, job.results)
        assert record is not None
        assert record.already_complete
        assert record.metrics["eval_loss"] == job.report()["metrics"]["eval_loss"]

    def test_resume_never_asks_a_new_job_for_a_result_of_its_own(self, job: AJob) -> None:
        never = job.with_spec(checkpoint={"resume": "Never"})
        assert already_complete(never.config, job.results) is not None, "the same job has written it itself"
        other = never.with_config(job={"name": "job", "namespace": "test", "uid": "uid-2"})
        assert already_complete(other.config, job.results) is None

    def test_run_json_says_what_was_resolved(self, job: AJob) -> None:
        record = RunRecord.load(job.results.run_record.read_bytes())
        assert record.effective.precision == "FP32"
        assert record.effective.world_size == 1
        assert len(record.data_fingerprint) >= 16


def test_lora_weights_are_drawn_by_the_seed(tmp_path: Path, models: Path) -> None:
    from safetensors.torch import load_file

    weights = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        job = AJob.on(tmp_path / name, models).with_spec(
            hyperparameters={"seed": seed, "epochs": None, "maxSteps": 2}, dataset={"seed": 3}
        )
        Ranks(job).finish()
        weights.append(load_file(job.results.output / "adapter_model.safetensors"))
    one, again, other = weights
    assert all((one[name] == again[name]).all() for name in one)
    assert any((one[name] != other[name]).any() for name in one)


def test_accumulation_does_not_scale_the_loss(tmp_path: Path, models: Path) -> None:
    curves = []
    for per_device, accumulation in ((8, 1), (2, 4)):
        job = AJob.on(tmp_path / str(per_device), models).with_spec(
            tuning={"dropout": 0.0},
            hyperparameters={"perDeviceBatchSize": per_device, "gradientAccumulationSteps": accumulation},
        )
        Ranks(job).finish()
        curves.append([loss for _, loss in job.report()["lossCurve"]])
    assert curves[0] == pytest.approx(curves[1], abs=2e-4)


def test_a_smaller_batch_after_out_of_memory_learns_the_same(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models).with_config(adaptation={"perDeviceBatchSize": 2, "gradientAccumulationSteps": 4})
    Ranks(job).finish()
    effective = job.report()["effective"]
    assert (effective["perDeviceBatchSize"], effective["gradientAccumulationSteps"]) == (2, 4)
    assert any("did not fit" in reason for reason in effective["because"])


def test_full_pretraining_from_scratch_says_that_it_is(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models).with_spec(
        model={"claim": {"name": "models", "path": "untrained"}},
        method="ContinuedPretraining",
        tuning={"type": "Full", "rank": None, "dropout": None},
        dataset={"sources": [{"claim": {"name": "data", "path": "text.txt"}}], "split": {"validation": 0.0}},
    )
    (tmp_path / "data" / "text.txt").write_text(
        "\n\n".join(f"Line {n} of a long story about foxes." for n in range(400))
    )
    Ranks(job).finish()
    from transformers import AutoModelForCausalLM

    report = job.report()
    assert any("no weights" in warning for warning in report["warnings"])
    assert report["lossCurve"][-1][1] < report["lossCurve"][0][1]
    assert not report["output"]["adapter"]
    loaded = AutoModelForCausalLM.from_pretrained(job.results.output)
    assert loaded.num_parameters() == report["effective"]["totalParameters"]


def test_an_adapter_needs_a_base_with_weights(tmp_path: Path, models: Path) -> None:
    record = end_of(AJob.on(tmp_path, models).with_spec(model={"claim": {"name": "models", "path": "untrained"}}))
    assert record.kind is EndKind.USER_ERROR
    assert "no weights" in record.message


def test_a_missing_model_says_what_is_there_instead(tmp_path: Path, models: Path) -> None:
    record = end_of(AJob.on(tmp_path, models).with_spec(model={"claim": {"name": "models", "path": "tiny-lama"}}))
    assert record.kind is EndKind.USER_ERROR
    assert "tiny-lama" in record.message
    assert "tiny/, untrained/" in record.message


def test_a_model_that_may_not_be_read_is_no_missing_model(tmp_path: Path, models: Path) -> None:
    def give_up_capabilities() -> None:
        # Root reads every file by a capability; without any, the file's mode holds for root as well.
        version_3, this_process = 0x20080522, 0
        header, none = (ctypes.c_uint32 * 2)(version_3, this_process), (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(header, none) == 0

    shutil.copytree(models / "tiny", tmp_path / "models" / "tiny")
    (tmp_path / "models" / "tiny" / "model.safetensors").chmod(0)
    record = end_of(AJob.on(tmp_path, tmp_path / "models"), give_up_capabilities)
    assert record.kind is EndKind.USER_ERROR
    assert "may not read model.safetensors" in record.message


def test_wrong_target_modules_are_answered_with_the_right_ones(tmp_path: Path, models: Path) -> None:
    record = end_of(AJob.on(tmp_path, models).with_spec(tuning={"targetModules": ["query"]}))
    assert record.kind is EndKind.USER_ERROR
    assert "q_proj" in record.advice


def test_asking_for_devices_where_there_are_none_is_no_silent_cpu_run(tmp_path: Path, models: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a device here")
    record = end_of(AJob.on(tmp_path, models).with_config(world={"device": "CUDA"}))
    assert record.kind is EndKind.DEVICE_UNAVAILABLE


def test_a_loss_that_is_not_finite_ends_as_diverged_without_a_checkpoint_of_it(tmp_path: Path, models: Path) -> None:
    def break_the_loss() -> None:
        from transformers.models.llama import modeling_llama

        forward = modeling_llama.LlamaForCausalLM.forward
        calls = []

        def broken(self: Any, *arguments: Any, **named: Any) -> Any:
            calls.append(1)
            output = forward(self, *arguments, **named)
            if len(calls) > 6:
                output["loss"] = output["loss"] * float("nan")
            return output

        modeling_llama.LlamaForCausalLM.forward = broken

    job = AJob.on(tmp_path, models).with_spec(dataset={"split": {"validation": 0.0}})
    record = end_of(job, break_the_loss)
    assert record.kind is EndKind.DIVERGED
    assert "learningRate" in record.advice
    assert [manifest.step for manifest in job.manifests()] == [2]


def test_changed_data_is_refused_with_the_reason(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models)
    first = Ranks(job)
    first.wait_for(lambda report: report.step >= 2)
    first.kill()
    first.wait()
    write_rows(tmp_path / "data" / "train.jsonl", 60)
    record = end_of(job)
    assert record.kind is EndKind.USER_ERROR
    assert "data has changed" in record.message
    afresh = job.with_spec(checkpoint={"resume": "Never"}).with_config(
        job={"name": "job", "namespace": "test", "uid": "uid-2"}
    )
    Ranks(afresh).finish()
    assert afresh.report()["lossCurve"][0][0] == 1


def test_a_run_that_was_killed_before_it_began_afresh_leaves_that_to_the_next(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models)
    first = Ranks(job)
    first.wait_for(lambda report: report.checkpoint.count >= 1)
    first.kill()
    first.wait()
    afresh = job.with_spec(checkpoint={"resume": "Never"}).with_config(
        job={"name": "job", "namespace": "test", "uid": "uid-2"}
    )
    RunClaim.take(afresh.results, afresh.config)  # and then it is killed
    second = Ranks(afresh)
    second.wait_for(lambda report: report.checkpoint.count >= 1)
    second.kill()
    second.wait()
    assert {entry["run"] for entry in read_metrics(job.results)} == {3}
    Ranks(afresh).finish()
    assert {entry["run"] for entry in read_metrics(job.results)} == {3, 4}, "the next one continues"


def test_a_killed_run_is_told_about_by_the_next_one(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models)
    first = Ranks(job)
    first.wait_for(lambda report: report.step >= 3)
    first.kill()
    first.wait()
    claim = RunClaim.take(job.results, job.config)
    record = rebuilt_record(job.results, claim.number, job.config)
    assert record is not None
    assert (record.run, record.uid) == (1, "uid-1")
    assert record.step is not None
    assert record.step >= 2
    assert newest_run(job.results) == 2


@pytest.mark.parametrize(
    ("limit", "refused"),
    [(10_000, "adapter_model.safetensors"), (70_000, "optimizer.pt")],
)
def test_a_disk_that_takes_no_more_costs_the_checkpoint_and_not_the_training(
    limit: int, refused: str, tmp_path: Path, models: Path
) -> None:
    def let_the_kernel_refuse_at_step_4() -> None:
        import resource

        from finetune_trainer.trainer import RecipeTrainer

        write_files = RecipeTrainer._write_files

        def limited(self: Any, directory: Path) -> None:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit if self.state.global_step == 4 else hard, hard))
            try:
                write_files(self, directory)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

        RecipeTrainer._write_files = limited  # type: ignore[method-assign]  # in the forked rank only

    job = AJob.on(tmp_path, models).with_spec(checkpoint={"keep": 10})
    Ranks(job, before=let_the_kernel_refuse_at_step_4).finish()
    sizes = {file.path: file.bytes for file in job.manifests()[0].files}
    assert next(name for name in ("adapter_model.safetensors", "optimizer.pt") if sizes[name] > limit) == refused
    steps = [manifest.step for manifest in job.manifests()]
    assert 4 not in steps
    assert {2, 6} <= set(steps)
    assert not list(job.results.checkpoints.glob("step-00000004-*")), "what was begun is taken away"
    assert any("step 4 could not be written" in warning for warning in job.report()["warnings"])


def test_a_fenced_off_run_ends_without_committing(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models)
    first = Ranks(job)
    first.wait_for(lambda report: report.step >= 2)
    RunClaim.take(job.results, job.config)
    before = len(job.manifests())
    (record,) = first.wait()
    assert record is not None
    assert record.kind is EndKind.INTERNAL_ERROR
    assert "Run 2 has taken over" in record.message
    assert len(job.manifests()) <= before + 1
    assert job.results.complete_report() is None


def test_early_stopping_gives_the_best_checkpoint(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models).with_spec(
        hyperparameters={"learningRate": 0.9, "epochs": 20.0, "warmupRatio": 0.0, "scheduler": "constant"},
        evaluation={"everySteps": 2, "earlyStopping": {"patience": 2}},
        checkpoint={"everySteps": 2, "keepBest": True},
    )
    Ranks(job).finish()
    report = job.report()
    assert report["stoppedEarly"]
    assert report["steps"] < 120
    curve = dict(map(tuple, report["evaluationCurve"]))
    assert report["outputStep"] == min(curve, key=lambda step: (curve[step], step))


def test_packing_learns_the_same(tmp_path: Path, models: Path) -> None:
    curves = []
    for packing in (False, True):
        job = AJob.on(tmp_path / str(packing), models).with_spec(
            tuning={"dropout": 0.0}, hyperparameters={"packing": packing}
        )
        Ranks(job).finish()
        assert job.report()["effective"]["packing"] is packing
        curves.append([loss for _, loss in job.report()["lossCurve"]])
    assert curves[0] == pytest.approx(curves[1], abs=2e-4)


def test_metrics_are_one_line_a_step_and_never_twice(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models)
    first = Ranks(job)
    first.wait_for(lambda report: report.step >= 5)
    first.kill()
    first.wait()
    with job.results.metrics.open("a") as file:
        file.write('{"step": 6, "lo')
    Ranks(job).finish()
    steps = [entry["step"] for entry in read_metrics(job.results) if "loss" in entry]
    assert steps == list(range(1, job.report()["steps"] + 1))
    assert all(json.loads(line) for line in job.results.metrics.read_text().splitlines())
