"""References to things outside the resource: claims, hub repositories, Secrets, ConfigMaps, other jobs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import NonNegativeInt, SpecModel

ObjectName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
RelativePath = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*$")]
HubId = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._]*(/[A-Za-z0-9][-A-Za-z0-9._]*)?$"),
]
Revision = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[-A-Za-z0-9._/]+$")]


class SecretKey(SpecModel):
    """One key of a Secret in the job's namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: DataKey
    """The key in it."""


class SecretName(SpecModel):
    """A Secret in the job's namespace, all of whose keys become environment variables."""

    name: ObjectName
    """Name of the Secret."""


class ConfigMapKey(SpecModel):
    """One key of a ConfigMap in the job's namespace."""

    name: ObjectName
    """Name of the ConfigMap."""
    key: DataKey
    """The key in it."""


class ClaimPath(SpecModel):
    """A file or a directory on an existing PersistentVolumeClaim, mounted read-only."""

    name: ObjectName
    """Name of the PersistentVolumeClaim."""
    path: RelativePath | None = None
    """Path on the volume, relative to its root; without it the root itself."""


class ClaimName(SpecModel):
    """An existing PersistentVolumeClaim."""

    name: ObjectName
    """Name of the PersistentVolumeClaim."""


class HubModel(SpecModel):
    """A model repository on the Hugging Face hub."""

    id: HubId
    """The repository, for example org/model."""
    revision: Revision | None = None
    """Commit, tag or branch. Without it the newest commit at the first attempt is pinned in run.json."""
    token_secret: SecretKey | None = None
    """The token with which it is read."""


class HubDataset(SpecModel):
    """A data set repository on the Hugging Face hub."""

    id: HubId
    """The repository, for example org/data."""
    revision: Revision | None = None
    """Commit, tag or branch. Without it the newest commit at the first attempt is pinned in run.json."""
    config: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """The configuration (subset) of the data set."""
    split: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """A split or a slice of one, for example `train[:5%]`."""
    token_secret: SecretKey | None = None
    """The token with which it is read."""


class JobName(SpecModel):
    """Another FineTuneJob of the same namespace."""

    name: ObjectName
    """Name of the FineTuneJob."""


class ModelReference(SpecModel):
    """Where a model comes from: exactly one of hub, claim and job."""

    hub: HubModel | None = None
    """A repository on the Hugging Face hub."""
    claim: ClaimPath | None = None
    """A directory on an existing claim."""
    job: JobName | None = None
    """The output of another job of the namespace, once that has succeeded."""


class CheckpointReference(SpecModel):
    """A checkpoint to start from: another job's, or a directory on a claim."""

    job: JobName | None = None
    """The job whose checkpoint it is."""
    step: NonNegativeInt | None = None
    """The optimizer step of that job's checkpoint; without it the newest complete one."""
    claim: ClaimPath | None = None
    """The claim and the directory of the checkpoint on it."""
