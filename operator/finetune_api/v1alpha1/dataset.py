"""The data that a job learns from and is measured on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import NonNegativeInt, NullsDropped, PositiveInt, Share, SpecModel
from .references import ClaimPath, ConfigMapKey, HubDataset, JobName, ModelReference

DatasetFormat = Literal[
    "Auto",
    "Text",
    "Instruction",
    "PromptCompletion",
    "Conversational",
    "Preference",
    "UnpairedPreference",
    "PromptOnly",
]
ColumnName = Annotated[str, Field(min_length=1, max_length=200)]


class DataSource(SpecModel):
    """Where rows come from: exactly one of claim, configMap and hub."""

    claim: ClaimPath | None = None
    config_map: ConfigMapKey | None = None
    hub: HubDataset | None = None
    weight: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Mixing weight relative to the other sources. Without any weight the sources are concatenated."""
    max_examples: PositiveInt | None = None
    task: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """A name that reports and per-task metrics use."""


class HeldOut(SpecModel):
    """Rows that are never trained on."""

    sources: Annotated[list[DataSource], Field(min_length=1, max_length=16)]


class Split(SpecModel):
    """Shares of the rows that are held out."""

    validation: Annotated[float, Field(ge=0, lt=1)] | None = None
    test: Annotated[float, Field(ge=0, lt=1)] | None = None


class Cleaning(SpecModel):
    """Which rows are dropped or normalised before training."""

    drop_duplicates: bool | None = None
    drop_near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    """Jaccard similarity from which rows count as the same."""
    normalize_unicode: bool | None = None
    min_characters: NonNegativeInt | None = None
    max_characters: PositiveInt | None = None
    max_tokens: PositiveInt | None = None


class Balance(SpecModel):
    """How classes of different sizes are brought into balance."""

    column: ColumnName
    strategy: Literal["Oversample", "Undersample", "Weights"]


class Augmentation(SpecModel):
    """Rows made from other rows."""

    name: Literal["SynonymReplacement", "Paraphrase", "BackTranslation"]
    share: Share
    model: ModelReference | None = None
    back_model: ModelReference | None = None


class Replay(SpecModel):
    """Continual learning: a part of what an earlier job learnt from."""

    job: JobName
    share: Share


class Dataset(SpecModel):
    """The data: sources, shape, hold-out and preparation."""

    format: DatasetFormat | None = None
    sources: Annotated[list[DataSource], Field(min_length=1, max_length=16)]
    split: Split | None = None
    validation: HeldOut | None = None
    test: HeldOut | None = None
    columns: Annotated[dict[str, ColumnName], Field(min_length=1, max_length=16), NullsDropped] | None = None
    """Field of the format: column of the file."""
    group_by: ColumnName | None = None
    """Rows with the same value in this column fall into the same split."""
    chat_template: ConfigMapKeyHolder | None = None
    system_message: Annotated[str, Field(min_length=1, max_length=8192)] | None = None
    cleaning: Cleaning | None = None
    balance: Balance | None = None
    augmentation: Annotated[list[Augmentation], Field(min_length=1, max_length=8)] | None = None
    replay: Replay | None = None
    seed: NonNegativeInt | None = None


class ConfigMapKeyHolder(SpecModel):
    """A text that is kept in a ConfigMap."""

    config_map: ConfigMapKey


Dataset.model_rebuild()
