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
    """A file or a directory of .txt, .csv, .json, .jsonl or .parquet files on an existing claim."""
    config_map: ConfigMapKey | None = None
    """A file in a ConfigMap."""
    hub: HubDataset | None = None
    """A data set on the Hugging Face hub."""
    weight: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Mixing weight relative to the other sources. Without any weight the sources are concatenated."""
    max_examples: PositiveInt | None = None
    """At most so many examples of this source."""
    task: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """A name that reports and per-task metrics use."""


class HeldOut(SpecModel):
    """Rows that are never trained on."""

    sources: Annotated[list[DataSource], Field(min_length=1, max_length=16)]
    """Where these rows come from."""


class Split(SpecModel):
    """Shares of the rows that are held out."""

    validation: Annotated[float, Field(ge=0, lt=1)] | None = None
    """The share that is evaluated on during training."""
    test: Annotated[float, Field(ge=0, lt=1)] | None = None
    """The share that is evaluated on once, at the end."""


class Cleaning(SpecModel):
    """Which rows are dropped or normalised before training."""

    drop_duplicates: bool | None = None
    """Drop rows that are equal to an earlier one."""
    drop_near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    """Jaccard similarity from which rows count as the same."""
    normalize_unicode: bool | None = None
    """Bring text into the form NFC."""
    min_characters: NonNegativeInt | None = None
    """Drop shorter examples."""
    max_characters: PositiveInt | None = None
    """Drop longer examples."""
    max_tokens: PositiveInt | None = None
    """Drop examples of more tokens."""


class Balance(SpecModel):
    """How classes of different sizes are brought into balance."""

    column: ColumnName
    """The column that holds the class."""
    strategy: Literal["Oversample", "Undersample", "Weights"]
    """Repeat rows of small classes, leave out rows of large ones, or weigh the loss."""


class Augmentation(SpecModel):
    """Rows made from other rows."""

    name: Literal["SynonymReplacement", "Paraphrase", "BackTranslation"]
    """How the rows are made."""
    share: Share
    """How many rows are made, as a share of the rows that are there."""
    model: ModelReference | None = None
    """The model that writes them."""
    back_model: ModelReference | None = None
    """The model that translates back."""


class Replay(SpecModel):
    """Continual learning: a part of what an earlier job learnt from."""

    job: JobName
    """The earlier job."""
    share: Share
    """Share of the rows that come from it."""


class Dataset(SpecModel):
    """The data: sources, shape, hold-out and preparation."""

    format: DatasetFormat | None = None
    """The shape of an example; Auto finds out."""
    sources: Annotated[list[DataSource], Field(min_length=1, max_length=16)]
    """Where the rows come from; several are put together."""
    split: Split | None = None
    """Shares that are held out; 5 % for validation where there are at least 100 examples and none is given."""
    validation: HeldOut | None = None
    """Rows to evaluate on during training, from sources of their own."""
    test: HeldOut | None = None
    """Rows to evaluate on at the end, from sources of their own."""
    columns: Annotated[dict[str, ColumnName], Field(min_length=1, max_length=16), NullsDropped] | None = None
    """Field of the format: column of the file."""
    group_by: ColumnName | None = None
    """Rows with the same value in this column fall into the same split."""
    chat_template: ConfigMapKeyHolder | None = None
    """A Jinja chat template in place of the model's own."""
    system_message: Annotated[str, Field(min_length=1, max_length=8192)] | None = None
    """A system message for conversations that have none."""
    cleaning: Cleaning | None = None
    """Which rows are dropped or normalised."""
    balance: Balance | None = None
    """How classes of different sizes are brought into balance."""
    augmentation: Annotated[list[Augmentation], Field(min_length=1, max_length=8)] | None = None
    """Rows that are made from other rows."""
    replay: Replay | None = None
    """Rows of an earlier job that are learnt again."""
    seed: NonNegativeInt | None = None
    """Seed of splitting and mixing; that of hyperparameters where not written."""


class ConfigMapKeyHolder(SpecModel):
    """A text that is kept in a ConfigMap."""

    config_map: ConfigMapKey
    """The ConfigMap and the key."""


Dataset.model_rebuild()
