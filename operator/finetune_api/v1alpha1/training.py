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
    """Freeze the embeddings."""
    first_layers: PositiveInt | None = None
    """Freeze the first N layers."""
    patterns: Annotated[list[ModuleName], Field(min_length=1, max_length=32)] | None = None
    """Freeze parameters whose names match, for example model.layers.*.mlp*."""
    train_last: PositiveInt | None = None
    """Train only the last N layers (and the head)."""


class ElasticWeightConsolidation(SpecModel):
    """Holds weights near those of an earlier job, by their importance there."""

    strength: Annotated[float, Field(gt=0)]
    """How strongly weights are held."""
    job: JobName
    """The earlier job."""


class Tuning(SpecModel):
    """Which parameters are trained."""

    type: TuningType | None = None
    """Which kind of tuning."""
    rank: Annotated[PositiveInt, Field(le=1024)] | None = None
    """Rank of the low-rank matrices."""
    alpha: Annotated[float, Field(gt=0, le=4096)] | None = None
    """Scale of the adapter; twice the rank where not written."""
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Dropout in the adapter."""
    target_modules: Annotated[list[ModuleName], Field(min_length=1, max_length=64)] | None = None
    """Modules that get an adapter; all linear layers where not written."""
    modules_to_save: Annotated[list[ModuleName], Field(min_length=1, max_length=16)] | None = None
    """Modules that are trained as a whole and saved with the adapter."""
    bias: Literal["none", "all", "lora_only"] | None = None
    """Which biases are trained."""
    new_tokens: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(min_length=1, max_length=1000)]
        | None
    ) = None
    """Vocabulary extension."""
    virtual_tokens: Annotated[PositiveInt, Field(le=4096)] | None = None
    """How many virtual tokens are learnt."""
    initial_text: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """The text whose embeddings virtual tokens begin with."""
    freeze: Freeze | None = None
    """Which parts of the model stay as they are."""
    elastic_weight_consolidation: ElasticWeightConsolidation | None = None
    """Holds weights near those of an earlier job."""


class Hyperparameters(SpecModel):
    """The numbers of the optimisation."""

    epochs: Annotated[float, Field(gt=0, le=1000)] | None = None
    """How often the data is seen; excludes maxSteps."""
    max_steps: Annotated[PositiveInt, Field(le=100_000_000)] | None = None
    """How many optimizer steps; excludes epochs."""
    learning_rate: Rate | None = None
    """The highest learning rate; by method and tuning type where not written."""
    min_learning_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    """The rate at which scheduler cosine_with_min_lr ends."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of the steps in which the rate rises."""
    warmup_steps: NonNegativeInt | None = None
    """Steps in which the rate rises."""
    scheduler: (
        Literal[
            "linear", "cosine", "cosine_with_restarts", "cosine_with_min_lr", "polynomial", "constant",
            "constant_with_warmup", "inverse_sqrt", "warmup_stable_decay",
        ]
        | None
    ) = None  # fmt: skip
    """How the rate falls after that."""
    optimizer: (
        Literal[
            "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor",
            "sgd", "lion_8bit",
        ]
        | None
    ) = None  # fmt: skip
    """The optimizer, by the name that transformers gives it."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Decay of the mean of gradients."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Decay of the mean of squared gradients."""
    adam_epsilon: Annotated[float, Field(gt=0, le=0.1)] | None = None
    """What keeps divisions finite."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] | None = None
    """Decay of the weights."""
    max_grad_norm: Annotated[float, Field(ge=0, le=1000)] | None = None
    """Gradients are scaled down to this norm; 0 leaves them."""
    per_device_batch_size: Annotated[PositiveInt, Field(le=4096)] | None = None
    """Examples on a device at once; a smaller divisor where memory does not allow it."""
    gradient_accumulation_steps: Annotated[PositiveInt, Field(le=65536)] | None = None
    """Batches whose gradients are added before a step."""
    max_sequence_length: Annotated[PositiveInt, Field(ge=8, le=10_000_000)] | None = None
    """Longest example in tokens; never more than the model has."""
    loss: Literal["All", "Completion", "Assistant"] | None = None
    """Which tokens count: all, the completion, or every assistant turn."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of probability that is spread over all tokens."""
    neftune_noise_alpha: Annotated[float, Field(ge=0, le=100)] | None = None
    """Noise on the embeddings (NEFTune)."""
    attention: Literal["Auto", "Flash", "SDPA", "Flex", "Eager"] | None = None
    """Implementation of attention."""
    kernels: Literal["Auto", "None", "Liger"] | None = None
    """Fused kernels."""
    compile: bool | None = None
    """Use torch.compile."""
    packing: bool | None = None
    """Put several examples into one row, kept apart; on where the attention can."""
    gradient_checkpointing: bool | None = None
    """Compute activations again to save memory."""
    data_loader_workers: Annotated[NonNegativeInt, Field(le=128)] | None = None
    """Processes that prepare batches."""
    precision: Precision | None = None
    """Number format of the computation; Auto takes the best that the device has."""
    seed: Annotated[NonNegativeInt, Field(le=4294967295)] | None = None
    """Seed of everything that is drawn."""


class Preference(SpecModel):
    """Settings of DPO, KTO and ORPO."""

    beta: Annotated[float, Field(gt=0, le=100)] | None = None
    """How near the model stays to the reference."""
    loss_type: Literal["sigmoid", "hinge", "ipo", "robust", "apo_zero", "apo_down"] | None = None
    """The loss, by the name that TRL gives it."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of labels that are taken for wrong; below 0.5."""
    reference_model: ModelReference | None = None
    """Another reference than the model itself."""


class RewardFunction(SpecModel):
    """One term of the reward of GRPO and RLOO."""

    name: Literal["ExactMatch", "RegexMatch", "JSONSchema", "LengthPenalty", "RewardModel", "Custom"]
    """What is rewarded."""
    weight: Annotated[float, Field(ge=-1000, le=1000)] | None = None
    """Weight of this term."""
    column: ColumnName | None = None
    """The column with the right answer."""
    pattern: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    """A regular expression that an answer should match."""
    schema_: Annotated[ConfigMapKeyHolder | None, Field(alias="schema")] = None
    """A JSON schema that an answer should keep."""
    config_map: ConfigMapKey | None = None
    """The Python file."""
    function: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """The function in it."""


class Reinforcement(SpecModel):
    """Settings of PPO, GRPO and RLOO."""

    generations: Annotated[PositiveInt, Field(ge=2, le=1024)] | None = None
    """Answers for each prompt, which are compared with each other."""
    max_prompt_length: PositiveInt | None = None
    """Longest prompt in tokens."""
    max_completion_length: PositiveInt | None = None
    """Longest answer in tokens."""
    temperature: Annotated[float, Field(gt=0, le=10)] | None = None
    """Temperature of the answers."""
    kl_coefficient: Annotated[float, Field(ge=0, le=10)] | None = None
    """How near the model stays to the reference."""
    reward_model: ModelReference | None = None
    """The model that scores answers."""
    rewards: Annotated[list[RewardFunction], Field(min_length=1, max_length=16)] | None = None
    """The terms of the reward."""


class Script(SpecModel):
    """A user's own script in place of the built-in recipe. Needs the platform's setting."""

    config_map: ConfigMapKey
    """The Python file."""
