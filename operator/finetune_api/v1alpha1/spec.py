"""The spec of a FineTuneJob: what people write, put together from its concerns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import NonNegativeInt, PositiveInt, SpecModel
from .checkpoint import Checkpoint
from .compute import Compute
from .dataset import Dataset
from .evaluation import Evaluation
from .model import Model
from .notification import Notification
from .output import Output
from .pod_template import PodTemplate
from .retry_policy import RetryPolicy
from .storage import Storage
from .tracking import Tracking
from .training import Hyperparameters, Method, Preference, Reinforcement, Script, Tuning


class FineTuneJobSpec(SpecModel):
    """One fine-tuning job: a model, data, a method, and what it may use."""

    model: Model
    dataset: Dataset
    method: Method | None = None
    tuning: Tuning | None = None
    hyperparameters: Hyperparameters | None = None
    preference: Preference | None = None
    reinforcement: Reinforcement | None = None
    script: Script | None = None
    evaluation: Evaluation | None = None
    checkpoint: Checkpoint | None = None
    storage: Storage | None = None
    compute: Compute | None = None
    output: Output | None = None
    tracking: Tracking | None = None
    pod_template: PodTemplate | None = None
    notifications: Annotated[list[Notification], Field(min_length=1, max_length=16)] | None = None
    suspend: bool | None = None
    """Created or held paused."""
    cancel: bool | None = None
    """Ends the job for good; checkpoints and record stay. Cannot be taken back."""
    active_deadline_seconds: PositiveInt | None = None
    """Active seconds, added up over all attempts, after which the job fails."""
    ttl_seconds_after_finished: NonNegativeInt | None = None
    """Seconds after the end at which the FineTuneJob is deleted. Retained claims stay."""
    retry_policy: RetryPolicy | None = None
