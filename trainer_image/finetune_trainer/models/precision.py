"""What only the trainer can know of numbers and kernels: precision and attention for this device. Pure."""

from __future__ import annotations

import importlib.util
from typing import Literal

import torch

from finetune_api.v1alpha1.hyperparameters import Precision

from ..errors import ConfigError

Resolved = Literal["BF16", "FP16", "FP32"]


def resolve_precision(wanted: Precision | None, device: torch.device) -> tuple[Resolved, str]:
    """The precision and the reason. BF16 from compute capability 8.0 on: the library's own answer is true by emulation
    on older cards. Raises ConfigError for a precision that the device cannot do."""
    if device.type != "cuda":
        if wanted == "FP16":
            raise ConfigError(
                f"hyperparameters.precision FP16 does not train on {device.type}.", "Write Auto, FP32 or BF16."
            )
        if wanted == "BF16":
            return "BF16", "precision BF16 as written"
        return "FP32", f"precision FP32 on {device.type}" if wanted in (None, "Auto") else "precision FP32 as written"
    major, minor = torch.cuda.get_device_capability(device)
    if wanted in (None, "Auto"):
        chosen: Resolved = "BF16" if major >= 8 else "FP16"
        return chosen, f"precision {chosen} at compute capability {major}.{minor}"
    if wanted == "BF16" and major < 8:
        raise ConfigError(
            f"hyperparameters.precision BF16 needs compute capability 8.0, this device has {major}.{minor}.",
            "Write Auto, FP16 or FP32.",
        )
    assert wanted is not None
    return wanted, f"precision {wanted} as written"  # type: ignore[return-value]  # Auto is dealt with above


def weight_type(precision: Resolved, *, full: bool) -> torch.dtype:
    """The type in which the base is held. Trained weights stay FP32 and are cast for the arithmetic; frozen ones need
    no more than the arithmetic does."""
    return torch.float32 if full else autocast_type(precision) or torch.float32


def autocast_type(precision: Resolved) -> torch.dtype | None:
    """The type of the arithmetic, or None where it is that of the weights."""
    return {"BF16": torch.bfloat16, "FP16": torch.float16, "FP32": None}[precision]


def resolve_attention(wanted: str | None, device: torch.device, precision: Resolved) -> tuple[str, str]:
    """The library's name of the attention and the reason. Raises ConfigError for one that cannot run here."""
    has_flash = importlib.util.find_spec("flash_attn") is not None
    fits_flash = device.type == "cuda" and precision != "FP32"
    if wanted in (None, "Auto"):
        if has_flash and fits_flash:
            return "flash_attention_2", "attention Flash, as it is installed"
        return "sdpa", "attention SDPA"
    if wanted == "Flash" and not (has_flash and fits_flash):
        why = "flash-attn is not in this image" if fits_flash else "it needs a CUDA device and BF16 or FP16"
        raise ConfigError(f"hyperparameters.attention Flash cannot be used: {why}.", "Write Auto or SDPA.")
    if wanted == "Flex" and device.type != "cuda":
        raise ConfigError("hyperparameters.attention Flex needs a CUDA device.", "Write Auto or SDPA.")
    names = {"Flash": "flash_attention_2", "SDPA": "sdpa", "Flex": "flex_attention", "Eager": "eager"}
    return names[str(wanted)], f"attention {wanted} as written"
