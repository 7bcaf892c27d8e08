"""`run.json` on the volume: what the first attempt resolved, obeyed by all later ones."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, WrapSerializer

from ..v1alpha1.spec import FineTuneJobSpec
from .config import only_what_was_set
from .effective import Effective
from .message import CONTRACT_VERSION, ContractModel


class Rewind(ContractModel):
    """A divergence that the job went back before: what later attempts have to know of it."""

    diverged_at: int
    """The step whose loss was not finite."""
    to_step: int
    """The checkpoint from which it went on; 0 is the beginning."""
    run: int
    """The run that went back: checkpoints of later steps count only from this run on."""


class RunRecord(ContractModel):
    """`run.json`: what the first attempt resolved, obeyed by all later ones."""

    contract_version: int = CONTRACT_VERSION
    fingerprint: str
    spec: Annotated[FineTuneJobSpec, WrapSerializer(only_what_was_set)]
    effective: Effective
    data_fingerprint: str
    """Hash of the rows that were read, before splitting."""
    revisions: dict[str, str] = Field(default_factory=dict)
    """Hub id to commit; `job <name>` to the digest of that job's output."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Library to version."""
    image: str | None = None
    rewind: Rewind | None = None
