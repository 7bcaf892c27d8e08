"""How Kubernetes chooses nodes and pods: affinities and spread, in the words of its own pod template."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import NullsDropped, PositiveInt, SpecModel
from .quantities import LabelName, LabelValue

Values = Annotated[list[LabelValue], Field(min_length=1, max_length=64)]
Namespaces = Annotated[list[Annotated[str, Field(min_length=1, max_length=63)]], Field(min_length=1, max_length=16)]
LabelMap = Annotated[dict[str, LabelValue], Field(min_length=1, max_length=24), NullsDropped]
Weight = Annotated[PositiveInt, Field(le=100)]


class NodeRequirement(SpecModel):
    """A condition on a label or field of a node."""

    key: LabelName
    """Name of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the label is compared."""
    values: Values | None = None
    """What it is compared with."""


class NodeSelectorTerm(SpecModel):
    """Conditions that must hold together."""

    match_expressions: Annotated[list[NodeRequirement], Field(min_length=1, max_length=16)] | None = None
    """Conditions on labels."""
    match_fields: Annotated[list[NodeRequirement], Field(min_length=1, max_length=4)] | None = None
    """Conditions on fields, such as metadata.name."""


class NodeSelector(SpecModel):
    """Terms of which one must hold."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], Field(min_length=1, max_length=16)]
    """The terms."""


class PreferredNodes(SpecModel):
    """Nodes that are liked better."""

    weight: Weight
    """How much, from 1 to 100."""
    preference: NodeSelectorTerm
    """Which nodes."""


class NodeAffinity(SpecModel):
    """Which nodes pods may run on, and which they like."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Nodes that pods may run on."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredNodes], Field(min_length=1, max_length=16)] | None
    ) = None
    """Nodes that pods like."""


class LabelRequirement(SpecModel):
    """A condition on a label."""

    key: LabelName
    """Name of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label is compared."""
    values: Values | None = None
    """What it is compared with."""


class LabelSelector(SpecModel):
    """Labels that pods must have."""

    match_labels: LabelMap | None = None
    """Labels with their values."""
    match_expressions: Annotated[list[LabelRequirement], Field(min_length=1, max_length=16)] | None = None
    """Conditions on labels."""


class PodAffinityTerm(SpecModel):
    """Pods that a pod should be near, or far from."""

    topology_key: LabelName
    """The node label whose equal value means near."""
    label_selector: LabelSelector | None = None
    """The pods that are meant."""
    namespace_selector: LabelSelector | None = None
    """The namespaces of those pods, by label."""
    namespaces: Namespaces | None = None
    """The namespaces of those pods, by name; without either the job's own."""


class WeightedPodAffinityTerm(SpecModel):
    """Nearness that is liked better."""

    weight: Weight
    """How much, from 1 to 100."""
    pod_affinity_term: PodAffinityTerm
    """Which pods."""


class PodAffinity(SpecModel):
    """Which pods should be near (podAffinity) or far (podAntiAffinity)."""

    required_during_scheduling_ignored_during_execution: (
        Annotated[list[PodAffinityTerm], Field(min_length=1, max_length=8)] | None
    ) = None
    """What must be so."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[WeightedPodAffinityTerm], Field(min_length=1, max_length=8)] | None
    ) = None
    """What is liked."""


class Affinity(SpecModel):
    """Where pods run, as in a pod."""

    node_affinity: NodeAffinity | None = None
    """On which nodes."""
    pod_affinity: PodAffinity | None = None
    """Near which pods."""
    pod_anti_affinity: PodAffinity | None = None
    """Far from which pods."""


class TopologySpreadConstraint(SpecModel):
    """How pods are spread, as in a pod."""

    max_skew: PositiveInt
    """By how many pods two parts of the cluster may differ."""
    topology_key: LabelName
    """The node label that tells the parts."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """What happens where it cannot be so."""
    label_selector: LabelSelector | None = None
    """The pods that are counted; without it those of the attempt."""
    min_domains: PositiveInt | None = None
    """How many parts there must be."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodes that pods may not run on count."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodes with taints that are not tolerated count."""
