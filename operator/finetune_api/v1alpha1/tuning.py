"""Which parameters of a model are trained. What goes with which type is in rules/tuning.py."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import PositiveInt, SpecModel
from .references import JobName

TuningType = Literal[
    "Full", "LoRA", "QLoRA", "DoRA", "RsLoRA", "AdaLoRA", "VeRA", "OFT", "IA3",
    "PrefixTuning", "PromptTuning", "PTuning", "Adapter",
]  # fmt: skip
ModuleName = Annotated[str, Field(min_length=1, max_length=200)]


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
