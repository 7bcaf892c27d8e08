"""Defaults, fingerprints, advice and what is not supported yet, on small jobs."""

from typing import Any

import pytest

from finetune_api.v1alpha1.advice import warnings
from finetune_api.v1alpha1.defaults import PlatformDefaults, Resolution, resolve
from finetune_api.v1alpha1.identity import fingerprint
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.support import unsupported
from finetune_api.v1alpha1.validation import parse_job
from tests.unit.api.examples import CLAIM, GRPO, a_job


def a_spec(**changes: Any) -> FineTuneJobSpec:
    return parse_job(a_job(**changes)).spec


def resolved(**changes: Any) -> Resolution:
    return resolve(a_spec(**changes), PlatformDefaults(storage_size="10Gi"))


def test_a_small_job_becomes_a_lora_sft_job() -> None:
    spec = resolved().spec.dump()
    assert spec["method"] == "SFT"
    assert spec["tuning"] == {"type": "LoRA", "rank": 16, "alpha": 32.0, "dropout": 0.05, "bias": "none"}
    assert spec["hyperparameters"]["learningRate"] == 2e-4
    assert spec["hyperparameters"]["epochs"] == 3.0
    assert spec["storage"] == {"size": "10Gi", "accessMode": "ReadWriteOnce", "retain": True}


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        ({}, 2e-4),
        ({"tuning.type": "Full"}, 2e-5),
        ({"method": "ContinuedPretraining", "tuning.type": "DoRA"}, 2e-4),
        ({"method": "DPO"}, 1e-5),
        ({"method": "ORPO", "tuning.type": "Full"}, 1e-6),
        ({"method": "Reward"}, 1e-4),
        ({"method": "Reward", "tuning.type": "Full"}, 1e-5),
        (GRPO, 1e-5),
        ({"method": "PPO", "reinforcement.rewardModel": CLAIM, "tuning.type": "Full"}, 1e-6),
        ({"tuning.type": "PromptTuning"}, 3e-2),
        ({"tuning.type": "PrefixTuning"}, 1e-2),
        ({"tuning.type": "PTuning"}, 1e-2),
        ({"tuning.type": "IA3"}, 5e-3),
    ],
    ids=str,
)
def test_the_learning_rate_goes_by_method_and_tuning(changes: dict[str, Any], rate: float) -> None:
    assert resolved(**changes).spec.dump()["hyperparameters"]["learningRate"] == rate


def test_steps_leave_no_epochs() -> None:
    assert "epochs" not in resolved(**{"hyperparameters.maxSteps": 5}).spec.dump()["hyperparameters"]


def test_alpha_follows_the_rank_and_says_why() -> None:
    answer = resolved(**{"tuning.rank": 8})
    assert answer.spec.dump()["tuning"]["alpha"] == 16
    assert any(reason.startswith("alpha 16") for reason in answer.because)


def test_pods_get_what_the_platform_gives_for_their_gpus() -> None:
    platform = PlatformDefaults(cpu_per_gpu=4, memory_per_gpu_gib=10, cpu_without_gpu="1", memory_without_gpu="3Gi")
    with_gpus = resolve(a_spec(**{"compute.gpusPerNode": 2}), platform).spec.dump()["compute"]
    assert (with_gpus["cpu"], with_gpus["memory"], with_gpus["gpuResource"]) == ("8", "20Gi", "nvidia.com/gpu")
    without = resolve(a_spec(**{"compute.gpusPerNode": 0}), platform).spec.dump()["compute"]
    assert (without["cpu"], without["memory"]) == ("1", "3Gi")
    assert "gpuResource" not in without


def test_several_nodes_share_a_claim() -> None:
    assert resolved(**{"compute.nodes": 2}).spec.dump()["storage"]["accessMode"] == "ReadWriteMany"


def test_without_any_size_the_storage_is_left_for_the_operator_to_ask_for() -> None:
    assert "storage" not in resolve(a_spec()).spec.dump()


def test_an_existing_claim_gets_no_settings_of_a_made_one() -> None:
    assert resolved(**{"storage.claim": {"name": "mine"}}).spec.dump()["storage"] == {"claim": {"name": "mine"}}


@pytest.mark.parametrize(
    "change",
    [
        {"hyperparameters.learningRate": 1e-4},
        {"hyperparameters.seed": 1},
        {"tuning.rank": 8},
        {"model.claim.path": "other"},
        {"evaluation.earlyStopping": {"patience": 3}},
        {"checkpoint.from": {"job": {"name": "a"}}},
    ],
    ids=str,
)
def test_what_changes_what_is_learnt_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert fingerprint(resolved(**change).spec) != fingerprint(resolved().spec)


@pytest.mark.parametrize(
    "change",
    [
        {"compute.nodes": 2},
        {"compute.memory": "64Gi"},
        {"retryPolicy.maxRetries": 0},
        {"suspend": True},
        {"hyperparameters.dataLoaderWorkers": 4},
        {"hyperparameters.epochs": 3},
        {"tuning.alpha": 32},
        {"tracking.tensorBoard": False},
    ],
    ids=str,
)
def test_what_changes_nothing_that_is_learnt_keeps_the_fingerprint(change: dict[str, Any]) -> None:
    assert fingerprint(resolved(**change).spec) == fingerprint(resolved().spec)


def test_another_result_of_the_job_that_it_begins_with_changes_the_fingerprint() -> None:
    chained = resolved(model={"job": {"name": "earlier"}}).spec
    found = {fingerprint(chained, produced) for produced in (None, {"earlier": "aa"}, {"earlier": "bb"})}
    assert len(found) == 3
    assert fingerprint(chained, {"earlier": "aa"}) == fingerprint(chained, {"earlier": "aa"})


def test_a_fingerprint_is_the_same_in_every_version() -> None:
    """Results lie under it: a change here makes every finished job train again."""
    digits = fingerprint(resolved().spec)
    assert len(digits) == 16
    assert digits == "59600663da1d0945"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hyperparameters.learningRate": 0.1}, "spec.hyperparameters.learningRate"),
        ({"hyperparameters.learningRate": 1e-7}, "spec.hyperparameters.learningRate"),
        ({"hyperparameters.perDeviceBatchSize": 65}, "spec.hyperparameters.perDeviceBatchSize"),
        ({"hyperparameters.epochs": 11}, "spec.hyperparameters.epochs"),
        ({"tuning.rank": 129}, "spec.tuning.rank"),
    ],
    ids=str,
)
def test_what_seldom_does_well_is_warned_of(changes: dict[str, Any], field: str) -> None:
    (warning,) = warnings(a_spec(**changes))
    assert warning.startswith(f"{field}: ")


def test_a_usual_job_is_not_warned_of() -> None:
    assert warnings(a_spec()) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"method": "DPO"}, "spec.method"),
        ({"tuning.type": "QLoRA"}, "spec.tuning.type"),
        ({"evaluation.metrics": ["Perplexity", "ROUGE"]}, "spec.evaluation.metrics[1]"),
        ({"dataset.replay": {"job": {"name": "earlier"}, "share": 0.1}}, "spec.dataset.replay"),
        ({"output.mergeAdapter": True}, "spec.output.mergeAdapter"),
    ],
    ids=str,
)
def test_what_is_not_there_yet_is_named(changes: dict[str, Any], field: str) -> None:
    assert [problem.field for problem in unsupported(a_spec(**changes))] == [field]


def test_what_asks_for_nothing_is_not_held_against_a_job() -> None:
    nothing = {"output": {"mergeAdapter": False, "quantize": "None"}, "model.trustRemoteCode": False}
    assert unsupported(a_spec(**nothing)) == []


def test_defaults_ask_for_nothing_that_is_not_there_yet() -> None:
    assert unsupported(resolved().spec) == []
