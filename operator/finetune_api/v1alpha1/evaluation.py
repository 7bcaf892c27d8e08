"""When and how a model is measured. What a metric means is the trainer's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import PositiveInt, SpecModel
from .dataset import ConfigMapKeyHolder
from .references import ModelReference

MetricName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_./-]+$")]
EvaluationMetric = Literal[
    "Perplexity", "BLEU", "ROUGE", "ExactMatch", "TokenF1", "Accuracy", "F1", "SemanticSimilarity"
]


class Generation(SpecModel):
    """Samples that are generated at each evaluation."""

    samples: Annotated[PositiveInt, Field(le=1000)] | None = None
    """How many validation examples are answered."""
    max_new_tokens: Annotated[PositiveInt, Field(le=8192)] | None = None
    """At most so many tokens an answer."""
    temperature: Annotated[float, Field(ge=0, le=10)] | None = None
    """0 takes the most likely token."""
    prompts: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=4096)]], Field(min_length=1, max_length=100)]
        | None
    ) = None
    """Further prompts to answer."""


class EarlyStopping(SpecModel):
    """Stop when a metric has not become better for a number of evaluations."""

    patience: Annotated[PositiveInt, Field(le=1000)]
    """After how many evaluations without improvement training stops."""
    min_delta: Annotated[float, Field(ge=0)] | None = None
    """What counts as an improvement."""
    metric: MetricName | None = None
    """The metric that is watched."""


class Evaluation(SpecModel):
    """When and how the model is measured."""

    every_steps: PositiveInt | None = None
    """Evaluate every so many optimizer steps."""
    every_epoch: bool | None = None
    """Evaluate at the end of each epoch."""
    metrics: Annotated[list[EvaluationMetric], Field(min_length=1, max_length=16)] | None = None
    """What is measured besides the loss."""
    embedding_model: ModelReference | None = None
    """The model whose embeddings SemanticSimilarity compares."""
    generation: Generation | None = None
    """Samples that are generated at each evaluation."""
    harness_tasks: Annotated[list[ConfigMapKeyHolder], Field(min_length=1, max_length=16)] | None = None
    """Tasks of the LM evaluation harness, as its YAML."""
    compare_with_base: bool | None = None
    """Measure the model before training as well."""
    early_stopping: EarlyStopping | None = None
    """Stop when a metric has not become better."""
