"""What is made of the trained model, and where it is pushed."""

from __future__ import annotations

from typing import Literal

from .base import SpecModel
from .references import HubId, SecretKey


class HubPush(SpecModel):
    """A hub repository that the result is pushed to."""

    id: HubId
    """The repository."""
    private: bool | None = None
    """Make it private where it does not exist yet."""
    token_secret: SecretKey
    """The token with which it is written."""


class Push(SpecModel):
    """Where the result is pushed."""

    hub: HubPush
    """A repository on the Hugging Face hub."""


class Output(SpecModel):
    """What is made of the trained model."""

    merge_adapter: bool | None = None
    """Merge the adapter into its base model."""
    quantize: Literal["None", "Int8", "NF4", "GGUF"] | None = None
    """Also write the result in this number format."""
    push: Push | None = None
    """Where the result is pushed."""
