"""Which rules stand on which part of the resource. What they say is in the files of the concerns."""

from __future__ import annotations

from functools import cache

from pydantic import BaseModel

from ..checkpoint import Checkpoint
from ..compute import Compute, DeepSpeed
from ..dataset import Augmentation, Cleaning, Dataset, DataSource, Split
from ..evaluation import Evaluation
from ..hyperparameters import Hyperparameters
from ..job import FineTuneJob
from ..method import Preference, Reinforcement, RewardFunction
from ..notification import Notification
from ..pod_template import EnvironmentVariable, PodTemplate, Toleration
from ..references import CheckpointReference, ClaimPath, ModelReference
from ..retry_policy import RetryPolicy
from ..spec import FineTuneJobSpec
from ..storage import Storage
from ..tuning import Freeze, Tuning
from . import data, job, measuring, methods, optimisation, placement, references, tuning
from .changes import ChangeRule, change_rules
from .rule import Rule

RULES: dict[type[BaseModel], tuple[Rule, ...]] = {
    FineTuneJob: (*job.JOB, *job.NOT_ITSELF),
    FineTuneJobSpec: (*methods.SPEC, *placement.SPEC),
    ModelReference: references.MODEL_REFERENCE,
    DataSource: references.DATA_SOURCE,
    CheckpointReference: references.CHECKPOINT_REFERENCE,
    ClaimPath: references.CLAIM_PATH,
    Dataset: data.DATASET,
    Split: data.SPLIT,
    Cleaning: data.CLEANING,
    Augmentation: data.AUGMENTATION,
    Tuning: tuning.TUNING,
    Freeze: tuning.FREEZE,
    Hyperparameters: optimisation.HYPERPARAMETERS,
    Preference: methods.PREFERENCE_BLOCK,
    Reinforcement: methods.REINFORCEMENT_BLOCK,
    RewardFunction: methods.REWARD,
    Evaluation: measuring.EVALUATION,
    Checkpoint: measuring.CHECKPOINT,
    RetryPolicy: measuring.RETRY_POLICY,
    Storage: placement.STORAGE,
    Compute: placement.COMPUTE,
    DeepSpeed: placement.DEEPSPEED,
    PodTemplate: placement.POD_TEMPLATE,
    Toleration: placement.TOLERATION,
    EnvironmentVariable: placement.ENVIRONMENT_VARIABLE,
    Notification: job.NOTIFICATION,
}


@cache
def rules_of(model: type[BaseModel]) -> tuple[Rule, ...]:
    """The rules of a model and of those that it is made from."""
    return tuple(rule for kind in model.__mro__ if kind in RULES for rule in RULES[kind])


@cache
def all_change_rules() -> list[ChangeRule]:
    """What may not be changed in a job that exists."""
    return change_rules(_names(FineTuneJobSpec), _names(Compute))


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
