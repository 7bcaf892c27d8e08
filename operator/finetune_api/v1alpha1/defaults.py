"""Every default of the resource, in one place. What only the trainer can know stays unset (packing, split)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .limits import ALPHA_TUNING, LORA_FAMILY, RANK_TUNING, VIRTUAL_TOKEN_TUNING, learning_rate
from .spec import FineTuneJobSpec


@dataclass(frozen=True)
class PlatformDefaults:
    """What the operator's settings give a job that does not say it itself."""

    cpu_per_gpu: int = 8
    """Cores for each GPU of a node."""
    memory_per_gpu_gib: int = 64
    """GiB of memory for each GPU of a node."""
    cpu_without_gpu: str = "2"
    memory_without_gpu: str = "4Gi"
    storage_size: str | None = None
    """Size of the claim that the operator makes; None means that a job must say its storage."""
    storage_class_name: str | None = None
    gpu_resource: str = "nvidia.com/gpu"


@dataclass(frozen=True)
class Resolution:
    """A spec with its defaults filled in, and the reasons of those that are not constants."""

    spec: FineTuneJobSpec
    because: list[str] = field(default_factory=list)


def resolve(spec: FineTuneJobSpec, platform: PlatformDefaults | None = None) -> Resolution:
    """Fills in every default that needs neither data nor model nor device. What was written is never changed."""
    document = spec.dump()
    because: list[str] = []
    method = document.setdefault("method", "SFT")
    _tuning(document, because)
    _hyperparameters(document, because)
    _method_settings(document, method)
    _run_settings(document)
    _compute(document, platform or PlatformDefaults(), because)
    _storage(document, platform or PlatformDefaults(), because)
    return Resolution(FineTuneJobSpec.model_validate(document), because)


def _fill(document: dict[str, Any], block: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Puts what is missing into a block of the spec, and gives the block back."""
    filled: dict[str, Any] = document.setdefault(block, {})
    for name, value in defaults.items():
        filled.setdefault(name, value)
    return filled


def _tuning(document: dict[str, Any], because: list[str]) -> None:
    tuning = _fill(document, "tuning", {"type": "LoRA"})
    kind = tuning["type"]
    if kind in RANK_TUNING:
        tuning.setdefault("rank", 16)
        tuning.setdefault("dropout", 0.05)
    if kind in ALPHA_TUNING and "alpha" not in tuning:
        tuning["alpha"] = 2 * tuning["rank"]
        because.append(f"alpha {tuning['alpha']}: twice the rank")
    if kind in LORA_FAMILY:
        tuning.setdefault("bias", "none")
    if kind in VIRTUAL_TOKEN_TUNING:
        tuning.setdefault("virtualTokens", 20)


def _hyperparameters(document: dict[str, Any], because: list[str]) -> None:
    method, kind = document["method"], document["tuning"]["type"]
    values = _fill(
        document,
        "hyperparameters",
        {
            "optimizer": "adamw_torch_fused",
            "scheduler": "cosine",
            "maxGradNorm": 1.0,
            "weightDecay": 0.0,
            "perDeviceBatchSize": 8,
            "gradientAccumulationSteps": 1,
            "maxSequenceLength": 2048,
            "precision": "Auto",
            "attention": "Auto",
            "kernels": "Auto",
            "compile": False,
            "gradientCheckpointing": kind != "PrefixTuning",
            "seed": 42,
        },
    )
    if "learningRate" not in values:
        values["learningRate"] = learning_rate(method, kind).default
        because.append(f"learningRate {values['learningRate']:g}: the usual one for {method} with {kind}")
    if "epochs" not in values and "maxSteps" not in values:
        values["epochs"] = 3.0
    if "warmupRatio" not in values and "warmupSteps" not in values and values["scheduler"] != "constant":
        values["warmupRatio"] = 0.03
    if method == "ContinuedPretraining":
        values.setdefault("loss", "All")
    document["dataset"].setdefault("format", "Auto")
    document["dataset"].setdefault("seed", values["seed"])


def _method_settings(document: dict[str, Any], method: str) -> None:
    if method == "DPO":
        _fill(document, "preference", {"beta": 0.1, "lossType": "sigmoid", "labelSmoothing": 0.0})
    if method in ("KTO", "ORPO"):
        _fill(document, "preference", {"beta": 0.1})
    if method in ("PPO", "GRPO", "RLOO"):
        common = {"maxPromptLength": 512, "maxCompletionLength": 256, "temperature": 1.0}
        own = {
            "PPO": {"klCoefficient": 0.05},
            "GRPO": {"klCoefficient": 0.0, "generations": 8},
            "RLOO": {"klCoefficient": 0.05, "generations": 8},
        }
        _fill(document, "reinforcement", {**common, **own[method]})


def _run_settings(document: dict[str, Any]) -> None:
    evaluation = _fill(document, "evaluation", {"compareWithBase": False})
    if "everySteps" not in evaluation:
        evaluation.setdefault("everyEpoch", True)
    if "earlyStopping" in evaluation:
        evaluation["earlyStopping"].setdefault("metric", "eval_loss")
        evaluation["earlyStopping"].setdefault("minDelta", 0.0)
    if "generation" in evaluation:
        _fill(evaluation, "generation", {"maxNewTokens": 128, "temperature": 0.0})
    checkpoint = _fill(
        document, "checkpoint", {"keep": 2, "keepBest": True, "gracePeriodSeconds": 300, "resume": "Auto"}
    )
    if checkpoint["keepBest"]:
        checkpoint.setdefault("bestMetric", "eval_loss")
    _fill(document, "output", {"quantize": "None"})
    _fill(document, "tracking", {"tensorBoard": True})
    _fill(
        document,
        "retryPolicy",
        {
            "maxRetries": 3,
            "backoffSeconds": 10,
            "maxBackoffSeconds": 300,
            "onOutOfMemory": "ReduceBatch",
            "onDivergence": "Fail",
            "hangTimeoutSeconds": 1800,
            "startDeadlineSeconds": 3600,
        },
    )


def _compute(document: dict[str, Any], platform: PlatformDefaults, because: list[str]) -> None:
    compute = _fill(document, "compute", {"nodes": 1, "gpusPerNode": 1, "strategy": "Auto"})
    gpus = compute["gpusPerNode"]
    if gpus == 0:
        asked = {"cpu": platform.cpu_without_gpu, "memory": platform.memory_without_gpu}
        reason = "the platform's for a job without GPU"
    else:
        compute.setdefault("gpuResource", platform.gpu_resource)
        asked = {"cpu": str(platform.cpu_per_gpu * gpus), "memory": f"{platform.memory_per_gpu_gib * gpus}Gi"}
        reason = f"the platform's for {gpus} GPU a node"
    for name, value in asked.items():
        if name not in compute:
            compute[name] = value
            because.append(f"{name} {value}: {reason}")


def _storage(document: dict[str, Any], platform: PlatformDefaults, because: list[str]) -> None:
    storage = document.get("storage", {})
    if "claim" in storage:
        return
    several = document["compute"]["nodes"] > 1
    defaults = {"accessMode": "ReadWriteMany" if several else "ReadWriteOnce", "retain": True}
    if platform.storage_size is not None:
        defaults["size"] = platform.storage_size
    if platform.storage_class_name is not None:
        defaults["storageClassName"] = platform.storage_class_name
    if "accessMode" not in storage and several:
        because.append("accessMode ReadWriteMany: the job has more than one node")
    if "size" not in storage and "size" not in defaults:
        return  # nothing says a size: the operator answers StorageRequired
    if "size" not in storage:
        because.append(f"storage size {defaults['size']}: the platform's")
    _fill(document, "storage", defaults)
