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
    max_new_tokens: Annotated[PositiveInt, Field(le=8192)] | None = None
    temperature: Annotated[float, Field(ge=0, le=10)] | None = None
    prompts: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=4096)]], Field(min_length=1, max_length=100)]
        | None
    ) = None


class EarlyStopping(SpecModel):
    """Stop when a metric has not become better for a number of evaluations."""

    patience: Annotated[PositiveInt, Field(le=1000)]
    min_delta: Annotated[float, Field(ge=0)] | None = None
    metric: MetricName | None = None


class Evaluation(SpecModel):
    """When and how the model is measured."""

    every_steps: PositiveInt | None = None
    every_epoch: bool | None = None
    metrics: Annotated[list[EvaluationMetric], Field(min_length=1, max_length=16)] | None = None
    embedding_model: ModelReference | None = None
    generation: Generation | None = None
    harness_tasks: Annotated[list[ConfigMapKeyHolder], Field(min_length=1, max_length=16)] | None = None
    compare_with_base: bool | None = None
    early_stopping: EarlyStopping | None = None
