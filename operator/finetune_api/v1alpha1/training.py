"""How a model is tuned: method, tuning type, hyperparameters and the methods' own settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import NonNegativeInt, PositiveInt, SpecModel
from .dataset import ColumnName, ConfigMapKeyHolder
from .references import ConfigMapKey, JobName, ModelReference

Method = Literal["SFT", "ContinuedPretraining", "DPO", "KTO", "ORPO", "Reward", "PPO", "GRPO", "RLOO"]
TuningType = Literal[
    "Full", "LoRA", "QLoRA", "DoRA", "RsLoRA", "AdaLoRA", "VeRA", "OFT", "IA3",
    "PrefixTuning", "PromptTuning", "PTuning", "Adapter",
]  # fmt: skip
Precision = Literal["Auto", "BF16", "FP16", "FP32"]
ModuleName = Annotated[str, Field(min_length=1, max_length=200)]
Rate = Annotated[float, Field(gt=0, le=1)]


class Freeze(SpecModel):
    """Which parts of the model stay as they are in full fine-tuning."""

    embeddings: bool | None = None
    first_layers: PositiveInt | None = None
    patterns: Annotated[list[ModuleName], Field(min_length=1, max_length=32)] | None = None
    train_last: PositiveInt | None = None
    """Train only the last N layers (and the head)."""


class ElasticWeightConsolidation(SpecModel):
    """Holds weights near those of an earlier job, by their importance there."""

    strength: Annotated[float, Field(gt=0)]
    job: JobName


class Tuning(SpecModel):
    """Which parameters are trained."""

    type: TuningType | None = None
    rank: Annotated[PositiveInt, Field(le=1024)] | None = None
    alpha: Annotated[float, Field(gt=0, le=4096)] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    target_modules: Annotated[list[ModuleName], Field(min_length=1, max_length=64)] | None = None
    modules_to_save: Annotated[list[ModuleName], Field(min_length=1, max_length=16)] | None = None
    bias: Literal["none", "all", "lora_only"] | None = None
    new_tokens: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(min_length=1, max_length=1000)]
        | None
    ) = None
    """Vocabulary extension."""
    virtual_tokens: Annotated[PositiveInt, Field(le=4096)] | None = None
    initial_text: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    freeze: Freeze | None = None
    elastic_weight_consolidation: ElasticWeightConsolidation | None = None


class Hyperparameters(SpecModel):
    """The numbers of the optimisation."""

    epochs: Annotated[float, Field(gt=0, le=1000)] | None = None
    max_steps: Annotated[PositiveInt, Field(le=100_000_000)] | None = None
    learning_rate: Rate | None = None
    min_learning_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] | None = None
    warmup_steps: NonNegativeInt | None = None
    scheduler: (
        Literal[
            "linear", "cosine", "cosine_with_restarts", "cosine_with_min_lr", "polynomial", "constant",
            "constant_with_warmup", "inverse_sqrt", "warmup_stable_decay",
        ]
        | None
    ) = None  # fmt: skip
    optimizer: (
        Literal[
            "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor",
            "sgd", "lion_8bit",
        ]
        | None
    ) = None  # fmt: skip
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] | None = None
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] | None = None
    adam_epsilon: Annotated[float, Field(gt=0, le=0.1)] | None = None
    weight_decay: Annotated[float, Field(ge=0, le=10)] | None = None
    max_grad_norm: Annotated[float, Field(ge=0, le=1000)] | None = None
    per_device_batch_size: Annotated[PositiveInt, Field(le=4096)] | None = None
    gradient_accumulation_steps: Annotated[PositiveInt, Field(le=65536)] | None = None
    max_sequence_length: Annotated[PositiveInt, Field(ge=8, le=10_000_000)] | None = None
    loss: Literal["All", "Completion", "Assistant"] | None = None
    """Which tokens count: all, the completion, or every assistant turn."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    neftune_noise_alpha: Annotated[float, Field(ge=0, le=100)] | None = None
    attention: Literal["Auto", "Flash", "SDPA", "Flex", "Eager"] | None = None
    kernels: Literal["Auto", "None", "Liger"] | None = None
    compile: bool | None = None
    packing: bool | None = None
    gradient_checkpointing: bool | None = None
    data_loader_workers: Annotated[NonNegativeInt, Field(le=128)] | None = None
    precision: Precision | None = None
    seed: Annotated[NonNegativeInt, Field(le=4294967295)] | None = None


class Preference(SpecModel):
    """Settings of DPO, KTO and ORPO."""

    beta: Annotated[float, Field(gt=0, le=100)] | None = None
    loss_type: Literal["sigmoid", "hinge", "ipo", "robust", "apo_zero", "apo_down"] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    reference_model: ModelReference | None = None


class RewardFunction(SpecModel):
    """One term of the reward of GRPO and RLOO."""

    name: Literal["ExactMatch", "RegexMatch", "JSONSchema", "LengthPenalty", "RewardModel", "Custom"]
    weight: Annotated[float, Field(ge=-1000, le=1000)] | None = None
    column: ColumnName | None = None
    pattern: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    schema_: Annotated[ConfigMapKeyHolder | None, Field(alias="schema")] = None
    config_map: ConfigMapKey | None = None
    function: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None


class Reinforcement(SpecModel):
    """Settings of PPO, GRPO and RLOO."""

    generations: Annotated[PositiveInt, Field(ge=2, le=1024)] | None = None
    max_prompt_length: PositiveInt | None = None
    max_completion_length: PositiveInt | None = None
    temperature: Annotated[float, Field(gt=0, le=10)] | None = None
    kl_coefficient: Annotated[float, Field(ge=0, le=10)] | None = None
    reward_model: ModelReference | None = None
    rewards: Annotated[list[RewardFunction], Field(min_length=1, max_length=16)] | None = None


class Script(SpecModel):
    """A user's own script in place of the built-in recipe. Needs the platform's setting."""

    config_map: ConfigMapKey
