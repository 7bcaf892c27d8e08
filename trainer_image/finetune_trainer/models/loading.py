"""Loading tokenizer and base model from where source.py found them. Attaches nothing and trains nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from ..errors import ConfigError, ModelError
from .source import Adapter, ModelSource


def load_tokenizer(source: ModelSource) -> Any:
    """The tokenizer, with a padding token. Raises ModelError."""
    tokenizer = _from_pretrained(AutoTokenizer, source, "tokenizer", name=source.tokenizer)
    if tokenizer.pad_token_id is None:
        # Padding is masked and never learnt, so any token serves; the unknown token is the least misleading one.
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"The tokenizer of {source.said} has neither a padding, an unknown nor an end-of-text token.",
            "Set eos_token in its tokenizer_config.json.",
        )
    tokenizer.padding_side = "right"
    return tokenizer


def load_config(source: ModelSource) -> Any:
    """The model's configuration. Raises ModelError."""
    return _from_pretrained(AutoConfig, source, "configuration")


def load_model(
    source: ModelSource, config: Any, *, dtype: torch.dtype, attention: str, seed: int, warn: Callable[[str], None]
) -> Any:
    """The model on the CPU, in `dtype`, with what earlier jobs learnt merged in. Without weights its parameters are
    drawn by the seed, and a warning says so.

    Raises ModelError, ConfigError.
    """
    if source.has_weights:
        model = _from_pretrained(
            AutoModelForCausalLM, source, "model", config=config, dtype=dtype, attn_implementation=attention
        )
    else:
        warn(f"{source.said} has no weights: the model starts from random ones (pre-training from scratch).")
        torch.manual_seed(seed)
        try:
            from_config: Any = AutoModelForCausalLM.from_config  # has no types
            model = from_config(
                config, dtype=dtype, attn_implementation=attention, trust_remote_code=source.trust_remote_code
            )
        except ValueError as error:
            raise ModelError(f"{source.said} cannot be built from its config.json: {error}") from error
    for adapter in source.adapters:
        model = _merged(model, adapter)
    model.config.use_cache = False
    return model


def _merged(model: Any, adapter: Adapter) -> Any:
    """The model with an adapter added to its weights, matrix by matrix: no second copy of the model is made.

    The product of an adapter's matrices is taken in FP32 and rounded once, when it is added.
    """
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(adapter.directory)).merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"The adapter of job {adapter.job} does not fit what it was trained on: {text}") from error


def sequence_limit(wanted: int, config: Any, tokenizer: Any) -> int:
    """Tokens of the longest row: what was asked for, never more than the model has positions."""
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    positions = getattr(text_config, "max_position_embeddings", None)
    limits = [wanted, positions or wanted]
    # Tokenizers without a limit of their own say 10**30.
    if tokenizer.model_max_length < 10**9:
        limits.append(tokenizer.model_max_length)
    return min(limits)


def check_vocabulary(model: Any, tokenizer: Any, source: ModelSource) -> None:
    """Raises ModelError where the tokenizer knows more tokens than the model has embeddings."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"The tokenizer of {source.said} has {len(tokenizer)} tokens, the model embeddings for {rows}.",
            "Use the tokenizer that belongs to the model.",
        )


def _from_pretrained(kind: Any, source: ModelSource, what: str, *, name: str | None = None, **settings: Any) -> Any:
    try:
        return kind.from_pretrained(
            name or source.name, revision=source.revision, trust_remote_code=source.trust_remote_code, **settings
        )
    except (OSError, ValueError, KeyError) as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        advice = "Check model.hub.id and revision, the token's access, and that the hub can be reached."
        raise ModelError(
            f"The {what} of {source.said} cannot be loaded: {text}", advice if source.is_hub else ""
        ) from error
    except ImportError as error:
        raise ConfigError(f"The {what} of {source.said} needs a library that this image lacks: {error}") from error
