"""What one rank knows of itself: configuration, place in the world, signs of life. No behaviour of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune_api.trainer_contract import TrainerConfig

from .heartbeats import Heartbeat
from .interruption import Interruption


@dataclass(frozen=True)
class Rank:
    """A rank of the attempt."""

    config: TrainerConfig
    number: int
    local_number: int
    world_size: int
    run: int
    """The claimed run number; only rank 0's counts."""
    scratch: Path
    """A directory of this node that the supervisor reads: records, heartbeats, the progress report."""
    heartbeat: Heartbeat
    interruption: Interruption

    @property
    def leads(self) -> bool:
        """Rank 0 alone writes shared results."""
        return self.number == 0
