"""Messages to people about a job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import SpecModel

Event = Literal["Started", "Suspended", "Retrying", "Succeeded", "Failed", "Cancelled"]
Events = Annotated[list[Event], Field(min_length=1, max_length=6)]


class Notification(SpecModel):
    """A message to a channel that the operator's settings name."""

    channel: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the channel."""
    on: Events | None = None
    """The events to tell."""
    true: Events | None = None
    """The same as `on`: YAML 1.1, which kubectl reads, makes true of an unquoted `on`. Do not write it yourself."""

    @property
    def events(self) -> list[Event]:
        """The events to tell, however the key was read."""
        return self.on or self.true or []
