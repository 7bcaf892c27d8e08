"""Where results and checkpoints live."""

from __future__ import annotations

from typing import Literal

from .base import SpecModel
from .quantities import Quantity
from .references import ClaimName, ObjectName


class Storage(SpecModel):
    """Where results and checkpoints live: a claim that the operator makes (size), or an existing one (claim)."""

    size: Quantity | None = None
    """Size of the claim that the operator makes."""
    storage_class_name: ObjectName | None = None
    """Class of that claim."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"] | None = None
    """Access mode of that claim; ReadWriteMany for several nodes."""
    retain: bool | None = None
    """The claim outlives the job."""
    claim: ClaimName | None = None
    """An existing claim."""
