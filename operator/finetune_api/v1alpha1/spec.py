"""The spec of a FineTuneJob: what people write, put together from its concerns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import NonNegativeInt, PositiveInt, SpecModel
from .checkpoint import Checkpoint
from .compute import Compute
from .dataset import Dataset
from .evaluation import Evaluation
from .hyperparameters import Hyperparameters
from .method import Method, Preference, Reinforcement, Script
from .model import Model
from .notification import Notification
from .output import Output
from .pod_template import PodTemplate
from .retry_policy import RetryPolicy
from .storage import Storage
from .tracking import Tracking
from .tuning import Tuning


class FineTuneJobSpec(SpecModel):
    """One fine-tuning job: a model, data, a method, and what it may use."""

    model: Model
    """The base model."""
    dataset: Dataset
    """The data."""
    method: Method | None = None
    """How the model learns."""
    tuning: Tuning | None = None
    """Which parameters are trained."""
    hyperparameters: Hyperparameters | None = None
    """The numbers of the optimisation."""
    preference: Preference | None = None
    """Settings of DPO, KTO and ORPO."""
    reinforcement: Reinforcement | None = None
    """Settings of PPO, GRPO and RLOO."""
    script: Script | None = None
    """A script in place of the built-in recipe."""
    evaluation: Evaluation | None = None
    """When and how the model is measured."""
    checkpoint: Checkpoint | None = None
    """When checkpoints are written and which are kept."""
    storage: Storage | None = None
    """Where results and checkpoints live."""
    compute: Compute | None = None
    """Nodes, devices and memory."""
    output: Output | None = None
    """What is made of the trained model."""
    tracking: Tracking | None = None
    """Where figures are recorded."""
    pod_template: PodTemplate | None = None
    """An overlay for placement and identity of the pods."""
    notifications: Annotated[list[Notification], Field(min_length=1, max_length=16)] | None = None
    """Messages to channels that the operator's settings name."""
    suspend: bool | None = None
    """Created or held paused."""
    cancel: bool | None = None
    """Ends the job for good; checkpoints and record stay. Cannot be taken back."""
    active_deadline_seconds: PositiveInt | None = None
    """Active seconds, added up over all attempts, after which the job fails."""
    ttl_seconds_after_finished: NonNegativeInt | None = None
    """Seconds after the end at which the FineTuneJob is deleted. Retained claims stay."""
    retry_policy: RetryPolicy | None = None
    """What happens when an attempt ends badly."""
