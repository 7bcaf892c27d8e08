"""What only the trainer can resolve, in one object, with the reasons; an earlier run's choices are obeyed.

Everything else has been resolved by finetune_api's defaults. No torch object is made here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from finetune_api.trainer_contract import Adaptation, Effective, RunRecord, TrainerConfig
from finetune_api.v1alpha1.batch import share
from finetune_api.v1alpha1.hyperparameters import Hyperparameters

from .batches import BatchSplit
from .errors import ConfigError
from .models.precision import Resolved, resolve_attention, resolve_precision


@dataclass(frozen=True)
class Settings:
    """How this attempt trains."""

    precision: Resolved
    attention: str
    strategy: str
    split: BatchSplit
    packing: bool
    gradient_checkpointing: bool
    data_loader_workers: int
    because: tuple[str, ...]


def resolve_settings(
    config: TrainerConfig, device: torch.device, world_size: int, earlier: RunRecord | None
) -> Settings:
    """The settings of this attempt. Raises ConfigError for what this device cannot do."""
    hyper = config.spec.hyperparameters or Hyperparameters()
    wanted = hyper.precision
    if earlier is not None and earlier.effective.precision is not None:
        wanted = earlier.effective.precision  # type: ignore[assignment]  # one of the same words
    precision, why_precision = resolve_precision(wanted, device)
    if earlier is not None:
        why_precision = f"precision {precision} as in the first attempt"
    attention, why_attention = resolve_attention(hyper.attention, device, precision)
    packing, why_packing = _packing(hyper.packing, attention)
    split, why_split = _split(config, hyper, world_size, earlier)
    adaptation = config.adaptation
    checkpointing = _first(adaptation.gradient_checkpointing, hyper.gradient_checkpointing, True)
    workers = _first(adaptation.data_loader_workers, hyper.data_loader_workers, 0)
    return Settings(
        precision=precision,
        attention=attention,
        strategy=_strategy(config, world_size),
        split=split,
        packing=packing,
        gradient_checkpointing=bool(checkpointing),
        data_loader_workers=int(workers),
        because=(why_precision, why_attention, why_packing, *why_split),
    )


def _strategy(config: TrainerConfig, world_size: int) -> str:
    wanted = (config.spec.compute and config.spec.compute.strategy) or "Auto"
    if wanted == "Auto":
        return "DDP" if world_size > 1 else "Single"
    if wanted == "Single" and world_size > 1:
        raise ConfigError(
            f"compute.strategy Single is one process, this attempt has {world_size}.", "Write Auto or DDP."
        )
    if wanted not in ("Single", "DDP"):
        raise ConfigError(f"compute.strategy {wanted} is not supported yet.", "Write Auto, Single or DDP.")
    return str(wanted)


def _packing(wanted: bool | None, attention: str) -> tuple[bool, str]:
    """Packing pays with kernels that skip what lies between examples; others compute the whole square of a row."""
    skips = attention in ("flash_attention_2", "flex_attention")
    if wanted is None:
        reason = "no padding with this attention" if skips else "rows of like length share a batch instead"
        return skips, f"packing {'on' if skips else 'off'}: {reason}"
    if wanted and not skips:
        return True, "packing as written, though this attention is slower with it than with like lengths"
    return wanted, f"packing {'on' if wanted else 'off'} as written"


def _split(
    config: TrainerConfig, hyper: Hyperparameters, world_size: int, earlier: RunRecord | None
) -> tuple[BatchSplit, list[str]]:
    """The split of the effective batch; the effective batch itself is that of the first attempt."""
    adaptation: Adaptation = config.adaptation
    per_device = int(_first(adaptation.per_device_batch_size, hyper.per_device_batch_size, 8))
    accumulation = int(_first(adaptation.gradient_accumulation_steps, hyper.gradient_accumulation_steps, 1))
    because = []
    if adaptation.per_device_batch_size is not None:
        because.append(f"perDeviceBatchSize {per_device}: a larger one did not fit into memory")
    effective = _effective_batch(earlier)
    if effective is not None and effective != per_device * accumulation * world_size:
        shared = share(effective, world_size, per_device)
        if shared is None:
            raise ConfigError(
                f"The job began with {effective} examples per optimizer step; {world_size} processes cannot share "
                "them evenly.",
                f"Choose a number of processes that divides {effective}.",
            )
        per_device, accumulation = shared
        because.append(
            f"perDeviceBatchSize {per_device} x accumulation {accumulation}: keeps the {effective} examples of an "
            f"optimizer step with {world_size} process(es)"
        )
    return BatchSplit(per_device, accumulation, world_size), because


def _effective_batch(earlier: RunRecord | None) -> int | None:
    if earlier is None:
        return None
    sizes = (
        earlier.effective.per_device_batch_size,
        earlier.effective.gradient_accumulation_steps,
        earlier.effective.world_size,
    )
    return None if None in sizes else math.prod(size for size in sizes if size is not None)


def effective_of(
    config: TrainerConfig,
    settings: Settings,
    *,
    model: str,
    device: torch.device,
    parameters: tuple[int, int],
) -> Effective:
    """What status.effective shows of this attempt."""
    hyper = config.spec.hyperparameters or Hyperparameters()
    return Effective(
        model=model,
        world_size=settings.split.world_size,
        per_device_batch_size=settings.split.per_device,
        gradient_accumulation_steps=settings.split.accumulation,
        precision=settings.precision,
        strategy=settings.strategy,
        learning_rate=hyper.learning_rate,
        packing=settings.packing,
        trainable_parameters=parameters[0],
        total_parameters=parameters[1],
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        because=list(settings.because),
    )


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)
