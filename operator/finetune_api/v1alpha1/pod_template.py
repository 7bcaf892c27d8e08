"""An overlay for placement and identity of the pods. Resources and images are in compute.py."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Int, NullsDropped, PositiveInt, SpecModel
from .quantities import LabelName, LabelValue
from .references import ObjectName
from .selectors import Affinity, LabelMap, TopologySpreadConstraint

LARGEST_USER = 2**31 - 1
UserId = Annotated[PositiveInt, Field(le=LARGEST_USER)]
AnnotationMap = Annotated[
    dict[str, Annotated[str, Field(max_length=8192)]], Field(min_length=1, max_length=24), NullsDropped
]


class Toleration(SpecModel):
    """A toleration as in a pod."""

    key: LabelName | None = None
    """Name of the taint; without it (and with operator Exists) every taint."""
    operator: Literal["Exists", "Equal"] | None = None
    """Whether the taint's value counts; Equal where not written."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; without it every effect."""
    toleration_seconds: Int | None = None
    """How long pods stay on a node that gets the taint."""


class LocalObjectReference(SpecModel):
    """The name of an object in the job's namespace."""

    name: ObjectName
    """Name of the Secret."""


class PodSecurity(SpecModel):
    """Users and groups that the pod runs as; never root."""

    run_as_user: UserId | None = None
    """The user."""
    run_as_group: UserId | None = None
    """The group."""
    fs_group: UserId | None = None
    """The group that volumes belong to."""
    supplemental_groups: Annotated[list[UserId], Field(min_length=1, max_length=16)] | None = None
    """Further groups."""


class EnvironmentVariable(SpecModel):
    """An environment variable of the trainer."""

    name: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Its name; the operator's own are reserved."""
    value: Annotated[str, Field(max_length=4096)]
    """Its value."""


class PodTemplate(SpecModel):
    """An overlay for placement and identity of the pods."""

    labels: LabelMap | None = None
    """Labels of the pods, beside the operator's."""
    annotations: AnnotationMap | None = None
    """Annotations of the pods, beside the operator's."""
    service_account_name: ObjectName | None = None
    """The account that pods run as; they get no token of it."""
    scheduler_name: ObjectName | None = None
    """Another scheduler than the cluster's default."""
    runtime_class_name: ObjectName | None = None
    """The RuntimeClass of the pods."""
    priority_class_name: ObjectName | None = None
    """The PriorityClass of the pods."""
    node_selector: LabelMap | None = None
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(min_length=1, max_length=32)] | None = None
    """Taints that pods put up with."""
    affinity: Affinity | None = None
    """Where pods run: on which nodes, near or far from which pods."""
    topology_spread_constraints: Annotated[list[TopologySpreadConstraint], Field(min_length=1, max_length=8)] | None = (
        None
    )
    """How pods are spread."""
    image_pull_secrets: Annotated[list[LocalObjectReference], Field(min_length=1, max_length=8)] | None = None
    """Secrets with which images are pulled."""
    security_context: PodSecurity | None = None
    """Users and groups of the pods."""
    env: Annotated[list[EnvironmentVariable], Field(min_length=1, max_length=64)] | None = None
    """Environment variables of the trainer."""
