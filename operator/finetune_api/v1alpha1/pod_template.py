"""An overlay for placement and identity of the pods. Resources and images are in compute.py."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .base import Int, PositiveInt, SpecModel
from .quantities import LabelValue
from .references import ObjectName


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
