"""Tables that defaults, rules and advice share: which tuning types are kin, and the usual learning rates."""

from __future__ import annotations

from typing import NamedTuple

LORA_FAMILY = ("LoRA", "QLoRA", "DoRA", "RsLoRA", "AdaLoRA")
"""Low-rank adapters with a scale of their own (alpha) and biases."""
ALPHA_TUNING = LORA_FAMILY
RANK_TUNING = (*LORA_FAMILY, "VeRA", "OFT")
MODULE_TUNING = (*RANK_TUNING, "IA3")
"""Tuning types that are put onto chosen modules of the model."""
VIRTUAL_TOKEN_TUNING = ("PrefixTuning", "PromptTuning", "PTuning")

SUPERVISED = ("SFT", "ContinuedPretraining")
PREFERENCE = ("DPO", "KTO", "ORPO")
REINFORCEMENT = ("PPO", "GRPO", "RLOO")

FAMILY_BY_METHOD = (
    dict.fromkeys(SUPERVISED, "supervised")
    | dict.fromkeys(PREFERENCE, "preference")
    | dict.fromkeys(REINFORCEMENT, "reinforcement")
    | {"Reward": "reward"}
)


class LearningRate(NamedTuple):
    """The default and the range outside of which a person is warned."""

    default: float
    lowest: float
    highest: float


LEARNING_RATES = {
    ("supervised", "Full"): LearningRate(2e-5, 1e-6, 1e-4),
    ("supervised", "LoRA"): LearningRate(2e-4, 1e-5, 1e-3),
    ("preference", "Full"): LearningRate(1e-6, 5e-8, 1e-5),
    ("preference", "LoRA"): LearningRate(1e-5, 5e-7, 1e-4),
    ("reward", "Full"): LearningRate(1e-5, 1e-6, 1e-4),
    ("reward", "LoRA"): LearningRate(1e-4, 1e-5, 1e-3),
    ("reinforcement", "Full"): LearningRate(1e-6, 5e-8, 1e-5),
    ("reinforcement", "LoRA"): LearningRate(1e-5, 5e-7, 1e-4),
}
"""By kind of method and of tuning."""

PROMPT_LEARNING_RATES = {
    "PromptTuning": LearningRate(3e-2, 1e-4, 0.5),
    "PrefixTuning": LearningRate(1e-2, 1e-4, 0.5),
    "PTuning": LearningRate(1e-2, 1e-4, 0.5),
    "IA3": LearningRate(5e-3, 1e-4, 5e-2),
}
"""Tuning types with so few parameters that their rate does not depend on the method."""


def learning_rate(method: str, tuning: str) -> LearningRate:
    """Default and usual range for a method and a tuning type."""
    if tuning in PROMPT_LEARNING_RATES:
        return PROMPT_LEARNING_RATES[tuning]
    return LEARNING_RATES[FAMILY_BY_METHOD[method], "Full" if tuning == "Full" else "LoRA"]
