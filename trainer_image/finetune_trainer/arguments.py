"""The spec's hyperparameters in the words of transformers' TrainingArguments. Decides nothing."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from transformers import TrainingArguments

from finetune_api.v1alpha1.hyperparameters import Hyperparameters

from .errors import ConfigError
from .results import Results
from .settings import Settings

_NEEDS_BITSANDBYTES = ("adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "lion_8bit")


class _Arguments(TrainingArguments):
    """TrainingArguments whose CPU has no index: with several processes it is cpu:0, which torch.load refuses."""

    @property
    def device(self) -> torch.device:
        device: torch.device = super().device
        return torch.device("cpu") if device.type == "cpu" else device


def training_arguments(
    hyper: Hyperparameters, settings: Settings, results: Results, device: torch.device, total_steps: int
) -> TrainingArguments:
    """Arguments under which the loop itself neither logs, evaluates nor saves: the flow decides that.

    Raises ConfigError for what needs a library that is not there.
    """
    _check_libraries(hyper)
    arguments = _Arguments(
        output_dir=str(results.checkpoints),
        max_steps=total_steps,
        per_device_train_batch_size=settings.split.per_device,
        per_device_eval_batch_size=settings.split.per_device,
        gradient_accumulation_steps=settings.split.accumulation,
        learning_rate=_set(hyper.learning_rate, 2e-4),
        lr_scheduler_type=hyper.scheduler or "cosine",
        lr_scheduler_kwargs=_scheduler_settings(hyper),
        warmup_steps=hyper.warmup_steps if hyper.warmup_steps is not None else hyper.warmup_ratio or 0.0,
        optim=hyper.optimizer or "adamw_torch_fused",
        adam_beta1=_set(hyper.adam_beta1, 0.9),
        adam_beta2=_set(hyper.adam_beta2, 0.999),
        adam_epsilon=_set(hyper.adam_epsilon, 1e-8),
        weight_decay=_set(hyper.weight_decay, 0.0),
        max_grad_norm=_set(hyper.max_grad_norm, 1.0),
        label_smoothing_factor=hyper.label_smoothing or 0.0,
        neftune_noise_alpha=hyper.neftune_noise_alpha or None,
        bf16=settings.precision == "BF16",
        fp16=settings.precision == "FP16",
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        torch_compile=bool(hyper.compile),
        use_liger_kernel=_uses_liger(hyper, device),
        dataloader_num_workers=settings.data_loader_workers,
        seed=_set(hyper.seed, 42),
        use_cpu=device.type == "cpu",
        ddp_backend="gloo" if device.type == "cpu" and settings.split.world_size > 1 else None,
        ddp_find_unused_parameters=False,
        logging_strategy="no",
        # A loss that is not finite must be seen, not replaced by the mean.
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        include_num_input_tokens_seen="no",
    )
    # Several visible devices must not turn one process into DataParallel.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _set(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _scheduler_settings(hyper: Hyperparameters) -> dict[str, Any]:
    if hyper.scheduler == "cosine_with_min_lr":
        return {"min_lr": hyper.min_learning_rate or 0.0}
    if hyper.scheduler == "warmup_stable_decay":
        # A tenth of the steps at the end, as in the paper (arXiv:2404.06395).
        return {"num_decay_steps": 0.1}
    return {}


def _uses_liger(hyper: Hyperparameters, device: torch.device) -> bool:
    installed = importlib.util.find_spec("liger_kernel") is not None
    if hyper.kernels == "Liger" and not (installed and device.type == "cuda"):
        why = "it is not in this image" if device.type == "cuda" else "it needs a CUDA device"
        raise ConfigError(f"hyperparameters.kernels Liger cannot be used: {why}.", "Write Auto or None.")
    return hyper.kernels == "Liger"


def _check_libraries(hyper: Hyperparameters) -> None:
    if hyper.optimizer in _NEEDS_BITSANDBYTES and importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"hyperparameters.optimizer {hyper.optimizer} needs bitsandbytes, which is not in this image.",
            "Write adamw_torch_fused.",
        )
