"""A job that begins with the output of another one: merged in memory, found with its base, refused when it is new."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune_api.trainer_contract import EndKind
from finetune_trainer.results import Results

from .attempts import AJob, Ranks
from .tiny_model import make_tiny_model


def named(job: AJob, name: str) -> AJob:
    """The same job under another name: with results of its own."""
    return job.with_config(
        job={"name": name, "namespace": "test", "uid": f"uid-{name}"},
        mounts={**job.config.mounts.dump(), "output": str(job.volume / name)},
    )


def upon(job: AJob, *earlier: AJob) -> AJob:
    """The job that begins with the output of the first of the earlier ones; the others lie beneath it."""
    places = {one.config.job.name: str(one.results.root) for one in earlier}
    digests = {one.config.job.name: one.report()["output"]["digest"] for one in earlier}
    mounts = {**job.config.mounts.dump(), "jobs": places}
    chained = replace(job, spec={**job.spec, "model": {"job": {"name": earlier[0].config.job.name}}})
    return chained.with_config(mounts=mounts, digests=digests)


def weights_of(model: Any) -> dict[str, Any]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, models: Path, loaded_libraries: None) -> AJob:
    """A LoRA job, finished."""
    job = named(AJob.on(tmp_path_factory.mktemp("chain"), models), "first")
    Ranks(job).finish()
    return job


@pytest.fixture(scope="module")
def second(first: AJob) -> AJob:
    """One upon it, finished."""
    job = upon(named(first.with_spec(hyperparameters={"epochs": 1.0}), "second"), first)
    Ranks(job).finish()
    return job


def test_a_new_adapter_is_trained_upon_the_merged_model(first: AJob, second: AJob) -> None:
    begun, ended = first.report(), second.report()
    assert ended["effective"]["model"] == "job first on models/tiny"
    assert begun["output"]["digest"] != ended["output"]["digest"]
    record = second.results.read_run_record()
    assert record is not None
    assert record.revisions["job first"] == begun["output"]["digest"]
    # It goes on where the first one ended, not where that one began.
    assert ended["lossCurve"][0][1] < begun["lossCurve"][0][1] - 0.5
    assert ended["lossCurve"][0][1] == pytest.approx(begun["lossCurve"][-1][1], abs=0.5)


def test_the_model_is_what_both_adapters_make_of_the_base(first: AJob, second: AJob, models: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from finetune_trainer.models.loading import load_config, load_model
    from finetune_trainer.models.source import locate

    third = upon(named(first, "third"), second, first)
    source = locate(third.config, None)
    assert source.lineage == "job second on job first on models/tiny"
    assert [adapter.job for adapter in source.adapters] == ["first", "second"]
    found = load_model(
        source, load_config(source), dtype=torch.float32, attention="sdpa", seed=0, warn=lambda _: None
    )  # fmt: skip
    wanted: Any = AutoModelForCausalLM.from_pretrained(models / "tiny", dtype=torch.float32)
    for job in (first, second):
        wanted = PeftModel.from_pretrained(wanted, str(job.results.output)).merge_and_unload()
    left, right = weights_of(found), weights_of(wanted)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert not any("lora" in name for name in left)


def test_the_output_says_upon_what_it_must_be_put(second: AJob) -> None:
    config = json.loads((second.results.output / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "job first on models/tiny", "the base alone would be another model"
    card = (second.results.output / "README.md").read_text()
    assert "path/to/the/output/of/first" in card


def test_a_whole_model_is_loaded_as_it_is(first: AJob, tmp_path: Path) -> None:
    full = {"type": "Full", "rank": None, "dropout": None}
    whole = upon(named(first.with_spec(tuning=full, hyperparameters={"epochs": 1.0}), "whole"), first)
    Ranks(whole).finish()
    assert whole.report()["output"]["adapter"] is False
    after = upon(named(first.with_spec(hyperparameters={"epochs": 1.0}), "after"), whole)
    after = after.with_config(mounts={**after.config.mounts.dump(), "claims": {"data": str(first.volume / "data")}})
    Ranks(after).finish()  # without the claim of the base, which is not needed any more
    assert after.report()["effective"]["model"] == "job whole on job first on models/tiny"


def refused(job: AJob) -> str:
    (record,) = Ranks(job).wait()
    assert record is not None
    assert record.kind is EndKind.USER_ERROR, record
    return f"{record.message} {record.advice}"


def test_an_output_that_was_made_anew_meanwhile_is_refused(first: AJob) -> None:
    job = upon(named(first, "late"), first).with_config(digests={"first": "that of before"})
    said = refused(job)
    assert "Job first was trained again" in said
    assert "Delete this job and create it again" in said


def test_a_job_without_an_output_is_named(first: AJob, tmp_path: Path) -> None:
    job = upon(named(first, "astray"), first)
    (tmp_path / "empty").mkdir()
    job = job.with_config(mounts={**job.config.mounts.dump(), "jobs": {"first": str(tmp_path / "empty")}})
    assert "job first hold no complete output" in refused(job)


def test_the_same_training_gives_the_same_digest_and_another_one_another(first: AJob, tmp_path: Path) -> None:
    from finetune_trainer.output import _digest

    copy = tmp_path / "copy"
    shutil.copytree(first.results.output, copy)
    (copy / "report.json").unlink()
    assert _digest(copy, lambda _: None) == first.report()["output"]["digest"]
    make_tiny_model(copy / "more", weights=False)
    assert _digest(copy, lambda _: None) != first.report()["output"]["digest"]
    assert Results(first.results.root).complete_report() is not None
