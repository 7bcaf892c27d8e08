"""Which parameters are trained: all of them, or a LoRA adapter beside frozen ones. Changes no weight of the base."""

from __future__ import annotations

from typing import Any

from finetune_api.v1alpha1.tuning import Tuning

from ..errors import ConfigError


def attach(model: Any, tuning: Tuning, *, seed: int, upon: str | None = None) -> Any:
    """The model with what the tuning type adds. `upon`: what the model is, where no directory or repository holds it.

    Raises ConfigError naming the modules that there are.
    """
    if (tuning.type or "LoRA") == "Full":
        model.requires_grad_(True)
        return model
    if tuning.type not in (None, "LoRA"):
        raise ConfigError(f"tuning.type {tuning.type} is not supported yet.", "Use LoRA or Full.")
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    rank = tuning.rank or 16
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=tuning.alpha if tuning.alpha is not None else 2 * rank,  # type: ignore[arg-type]  # a float works
        lora_dropout=0.05 if tuning.dropout is None else tuning.dropout,
        target_modules=list(tuning.target_modules) if tuning.target_modules else "all-linear",
        modules_to_save=list(tuning.modules_to_save) if tuning.modules_to_save else None,
        bias=tuning.bias or "none",
    )
    # PEFT draws the adapter's weights now: without the seed two runs would differ.
    set_seed(seed)
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        names = sorted(
            {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if not list(module.children())}
        )
        raise ConfigError(
            f"tuning.targetModules or modulesToSave does not fit the model: {error}",
            f"Its modules are: {', '.join(names[:40])}.",
        ) from error
    if upon is not None:
        # Whoever loads the adapter by its own word for its base would get a model that lacks what was merged into it.
        for attached in adapted.peft_config.values():
            attached.base_model_name_or_path = upon
    return adapted


def parameters(model: Any) -> tuple[int, int]:
    """Numbers of trainable and of all parameters."""
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return trainable, sum(parameter.numel() for parameter in model.parameters())
