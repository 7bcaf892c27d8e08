"""Messages to people about a job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import SpecModel


class Notification(SpecModel):
    """A message to a channel that the operator's settings name."""

    channel: Annotated[str, Field(min_length=1, max_length=63)]
    on: Annotated[
        list[Literal["Started", "Suspended", "Retrying", "Succeeded", "Failed", "Cancelled"]],
        Field(min_length=1, max_length=6),
    ]
