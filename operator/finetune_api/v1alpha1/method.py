"""How a model learns: the methods, and the settings that belong to some of them only."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import PositiveInt, SpecModel
from .dataset import ColumnName, ConfigMapKeyHolder
from .references import ConfigMapKey, ModelReference

Method = Literal["SFT", "ContinuedPretraining", "DPO", "KTO", "ORPO", "Reward", "PPO", "GRPO", "RLOO"]


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
