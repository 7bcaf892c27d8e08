"""How a job is run and kept: evaluation, checkpoints, storage, compute, retries, pod overlay, output and tracking."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .base import Int, NonNegativeInt, PositiveInt, SpecModel
from .dataset import ConfigMapKeyHolder
from .references import (
    CheckpointReference,
    ClaimName,
    HubId,
    ModelReference,
    ObjectName,
    SecretKey,
    SecretName,
)

Quantity = Annotated[str, Field(max_length=32, pattern=r"^([0-9]+(\.[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")]
ResourceName = Annotated[str, Field(max_length=253, pattern=r"^([a-z0-9][-a-z0-9.]*/)?[A-Za-z0-9][-A-Za-z0-9._]*$")]
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]
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


class Checkpoint(SpecModel):
    """When checkpoints are written and which are kept."""

    every_steps: PositiveInt | None = None
    every_minutes: Annotated[float, Field(gt=0, le=10080)] | None = None
    keep: Annotated[PositiveInt, Field(le=100)] | None = None
    keep_best: bool | None = None
    best_metric: MetricName | None = None
    grace_period_seconds: Annotated[PositiveInt, Field(ge=10, le=86400)] | None = None
    resume: Literal["Auto", "Never"] | None = None
    from_: Annotated[CheckpointReference | None, Field(alias="from")] = None


class Storage(SpecModel):
    """Where results and checkpoints live: a claim that the operator makes (size), or an existing one (claim)."""

    size: Quantity | None = None
    storage_class_name: ObjectName | None = None
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"] | None = None
    retain: bool | None = None
    """The claim outlives the job."""
    claim: ClaimName | None = None


class FSDP(SpecModel):
    """Settings of fully sharded data parallelism."""

    sharding: Literal["FullShard", "ShardGradOp"] | None = None
    cpu_offload: bool | None = None


class DeepSpeed(SpecModel):
    """Settings of DeepSpeed ZeRO."""

    stage: Annotated[Int, Field(ge=1, le=3)] | None = None
    offload_optimizer: bool | None = None
    offload_parameters: bool | None = None


class Compute(SpecModel):
    """Nodes, devices and memory."""

    nodes: Annotated[PositiveInt, Field(le=1024)] | None = None
    gpus_per_node: Annotated[NonNegativeInt, Field(le=64)] | None = None
    """Devices a node; 0 means CPU with one process a node."""
    gpu_resource: ResourceName | None = None
    cpu: Quantity | None = None
    memory: Quantity | None = None
    ephemeral_storage: Quantity | None = None
    shared_memory: Quantity | None = None
    extra_resources: Annotated[dict[ResourceName, Quantity], Field(min_length=1, max_length=16)] | None = None
    strategy: Literal["Auto", "Single", "DDP", "FSDP", "DeepSpeed", "Unsloth"] | None = None
    fsdp: FSDP | None = None
    deepspeed: DeepSpeed | None = None
    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._:/@]*$")] | None = None


class HubPush(SpecModel):
    """A hub repository that the result is pushed to."""

    id: HubId
    private: bool | None = None
    token_secret: SecretKey


class Push(SpecModel):
    """Where the result is pushed."""

    hub: HubPush


class Output(SpecModel):
    """What is made of the trained model."""

    merge_adapter: bool | None = None
    quantize: Literal["None", "Int8", "NF4", "GGUF"] | None = None
    push: Push | None = None


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


class Toleration(SpecModel):
    """A toleration as in a pod."""

    key: Annotated[str, Field(max_length=317)] | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: Annotated[str, Field(max_length=63)] | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: Int | None = None


class LocalObjectReference(SpecModel):
    """The name of an object in the job's namespace."""

    name: ObjectName


class PodSecurity(SpecModel):
    """Users and groups that the pod runs as."""

    run_as_user: PositiveInt | None = None
    run_as_group: PositiveInt | None = None
    fs_group: PositiveInt | None = None
    supplemental_groups: Annotated[list[PositiveInt], Field(min_length=1, max_length=16)] | None = None


class EnvironmentVariable(SpecModel):
    """An environment variable of the trainer."""

    name: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    value: Annotated[str, Field(max_length=4096)]


class PodTemplate(SpecModel):
    """An overlay for placement and identity of the pods."""

    labels: Annotated[dict[str, LabelValue], Field(min_length=1, max_length=32)] | None = None
    annotations: Annotated[dict[str, str], Field(min_length=1, max_length=32)] | None = None
    service_account_name: ObjectName | None = None
    scheduler_name: ObjectName | None = None
    runtime_class_name: ObjectName | None = None
    priority_class_name: ObjectName | None = None
    node_selector: Annotated[dict[str, LabelValue], Field(min_length=1, max_length=32)] | None = None
    tolerations: Annotated[list[Toleration], Field(min_length=1, max_length=32)] | None = None
    affinity: dict[str, Any] | None = None
    topology_spread_constraints: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=8)] | None = None
    image_pull_secrets: Annotated[list[LocalObjectReference], Field(min_length=1, max_length=8)] | None = None
    security_context: PodSecurity | None = None
    env: Annotated[list[EnvironmentVariable], Field(min_length=1, max_length=64)] | None = None


class Notification(SpecModel):
    """A message to a channel that the operator's settings name."""

    channel: Annotated[str, Field(min_length=1, max_length=63)]
    on: Annotated[
        list[Literal["Started", "Suspended", "Retrying", "Succeeded", "Failed", "Cancelled"]],
        Field(min_length=1, max_length=6),
    ]


class RetryPolicy(SpecModel):
    """What happens when an attempt ends badly."""

    max_retries: Annotated[NonNegativeInt, Field(le=100)] | None = None
    backoff_seconds: Annotated[NonNegativeInt, Field(le=86400)] | None = None
    max_backoff_seconds: Annotated[NonNegativeInt, Field(le=86400)] | None = None
    on_out_of_memory: Literal["ReduceBatch", "Fail"] | None = None
    on_divergence: Literal["Fail", "RewindOnce"] | None = None
    hang_timeout_seconds: Annotated[PositiveInt, Field(ge=30, le=604800)] | None = None
    start_deadline_seconds: Annotated[PositiveInt, Field(ge=10, le=604800)] | None = None
