"""The FineTuneJob object as a whole: type, metadata, spec and status. Documents are judged in validation.py."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from .base import NullsDropped
from .quantities import LabelName, LabelValue
from .spec import FineTuneJobSpec
from .status import FineTuneJobStatus


class ObjectMetadata(BaseModel):
    """The metadata of an object as Kubernetes has it; the API server refuses unknown names here as well."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

    name: str = ""
    """Empty only where generateName is given and the API server has not made a name of it yet."""
    generate_name: str | None = None
    """What the API server makes a name of by adding five characters."""
    namespace: str | None = None
    """The namespace."""
    uid: str | None = None
    """Unique among all objects."""
    labels: Annotated[dict[LabelName, LabelValue], NullsDropped] | None = None
    """Labels."""
    annotations: Annotated[dict[LabelName, str], NullsDropped] | None = None
    """Annotations."""
    generation: int | None = None
    """Rises with every change of the spec."""
    resource_version: str | None = None
    """Changes with every write."""
    creation_timestamp: str | None = None
    """RFC 3339, UTC."""
    deletion_timestamp: str | None = None
    """RFC 3339, UTC; set once the object is being deleted."""
    deletion_grace_period_seconds: int | None = None
    """Written by the API server."""
    finalizers: list[str] | None = None
    """What must be undone before the object is gone."""
    owner_references: list[dict[str, Any]] | None = None
    """The objects with which this one goes."""
    managed_fields: list[dict[str, Any]] | None = None
    """Written by the API server."""
    self_link: str | None = None
    """Written by old API servers."""


class FineTuneJob(BaseModel):
    """A fine-tuning job: what is asked for (spec) and what is known of it (status)."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

    api_version: Literal["finetune.dev/v1alpha1"] = "finetune.dev/v1alpha1"
    """The version of the resource."""
    kind: Literal["FineTuneJob"] = "FineTuneJob"
    """The kind of the resource."""
    metadata: ObjectMetadata
    """Name, namespace, labels."""
    spec: FineTuneJobSpec
    """What is asked for."""
    status: FineTuneJobStatus | None = None
    """What is known; written by the operator alone."""

    def dump(self) -> dict[str, Any]:
        """The document: only what was set, by its names in YAML."""
        document: dict[str, Any] = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "metadata": self.metadata.model_dump(mode="json", by_alias=True, exclude_unset=True),
            "spec": self.spec.dump(),
        }
        if self.status is not None:
            document["status"] = self.status.dump()
        return document
