"""What the supervisors of an attempt say to one another. What follows from it is decided in watch.py."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from finetune_api.trainer_contract import ContractModel, EndKind

from .hangs import Sight
from .line import Line
from .verdict import Verdict


class Message(ContractModel):
    """One thing said."""

    node: int = 0
    """Who speaks, by its line; of `lost`, who is gone."""
    say: Literal["cause", "leaving", "lost", "silent", "look", "sights"]
    cause: Verdict | None = None
    kind: EndKind | None = None
    """Of `leaving`: how the ranks there ended."""
    look: int = 0
    """Number of a look at all ranks, asked for with `look` and answered with `sights`."""
    sights: tuple[Sight, ...] = ()

    def send(self, line: Line) -> bool:
        """Whether it was put on its way."""
        return line.send(self.model_dump_json(by_alias=True, exclude_none=True))

    @classmethod
    def receive(cls, line: Line) -> Message | None:
        """The next one; None when the line has ended, or speaks of something else."""
        text = line.receive()
        try:
            return cls.load(text) if text else None
        except (ValueError, ValidationError):
            return None
