"""Where a job's figures are recorded."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import SpecModel
from .references import SecretKey, SecretName


class WandB(SpecModel):
    """Tracking with Weights & Biases."""

    project: Annotated[str, Field(min_length=1, max_length=128)]
    entity: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    api_key_secret: SecretKey


class MLflow(SpecModel):
    """Tracking with MLflow."""

    tracking_uri: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^https?://[^\s]+$")]
    experiment: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    credentials_secret: SecretName | None = None


class Tracking(SpecModel):
    """Experiment tracking."""

    tensor_board: bool | None = None
    wandb: WandB | None = None
    mlflow: MLflow | None = None
