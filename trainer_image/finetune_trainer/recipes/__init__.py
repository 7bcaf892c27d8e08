"""One recipe for each method. A recipe takes a rank and returns the fields of the attempt's record at a good end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from finetune_api.trainer_contract import TrainerConfig

from ..errors import ConfigError
from ..rank import Rank

Recipe = Callable[[Rank], dict[str, Any]]


def recipe_for(config: TrainerConfig) -> Recipe:
    """The recipe of the job's method; imports only that one. Raises ConfigError."""
    method = config.spec.method or "SFT"
    if method == "SFT":
        from .sft import train
    elif method == "ContinuedPretraining":
        from .pretraining import train
    else:
        raise ConfigError(f"method {method} is not supported yet.", "Write SFT or ContinuedPretraining.")
    return train
