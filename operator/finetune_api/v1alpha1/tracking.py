"""Where a job's figures are recorded."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import SpecModel
from .references import SecretKey, SecretName


class WandB(SpecModel):
    """Tracking with Weights & Biases."""

    project: Annotated[str, Field(min_length=1, max_length=128)]
    """The project."""
    entity: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    """The user or team."""
    api_key_secret: SecretKey
    """The API key."""


class MLflow(SpecModel):
    """Tracking with MLflow."""

    tracking_uri: Annotated[str, Field(min_length=1, max_length=2048, pattern=r"^https?://[^\s]+$")]
    """Address of the tracking server."""
    experiment: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Name of the experiment."""
    credentials_secret: SecretName | None = None
    """A Secret whose keys become environment variables, such as MLFLOW_TRACKING_TOKEN."""


class Tracking(SpecModel):
    """Experiment tracking."""

    tensor_board: bool | None = None
    """Write TensorBoard logs to the volume."""
    wandb: WandB | None = None
    """Send figures to Weights & Biases."""
    mlflow: MLflow | None = None
    """Send figures to MLflow."""
