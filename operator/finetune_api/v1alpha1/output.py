"""What is made of the trained model, and where it is pushed."""

from __future__ import annotations

from typing import Literal

from .base import SpecModel
from .references import HubId, SecretKey


class HubPush(SpecModel):
    """A hub repository that the result is pushed to."""

    id: HubId
    private: bool | None = None
    token_secret: SecretKey


class Push(SpecModel):
    """Where the result is pushed."""

    hub: HubPush


class Output(SpecModel):
    """What is made of the trained model."""

    merge_adapter: bool | None = None
    quantize: Literal["None", "Int8", "NF4", "GGUF"] | None = None
    push: Push | None = None
