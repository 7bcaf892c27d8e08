"""How a rank says how it ended: a small file for the supervisor, written by the rank itself as its last act."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from finetune_api.trainer_contract import FIGURES, AttemptRecord, ContractModel, EndKind, ProgressReport

from .files import write_atomically


class RankRecord(ContractModel):
    """The end of one rank."""

    rank: int
    kind: EndKind
    ended_at: float
    """Monotonic seconds; comparable among the processes of a node."""
    message: str = ""
    advice: str = ""
    collateral: bool = False
    """The rank only noticed that another had gone: the cause is to be looked for there."""
    details: dict[str, Any] = Field(default_factory=dict)
    """Fields of the attempt's record that rank 0 knows at a good end."""

    def write(self, scratch: Path) -> None:
        write_atomically(record_path(scratch, self.rank), json.dumps(self.dump()))

    @classmethod
    def read(cls, scratch: Path, rank: int) -> Self | None:
        """The record of a rank, or None where it was killed before it could write one."""
        try:
            return cls.load(record_path(scratch, rank).read_bytes())
        except (OSError, ValueError):
            return None


def record_path(scratch: Path, rank: int) -> Path:
    return scratch / f"record-{rank}.json"


def progress_path(scratch: Path) -> Path:
    return scratch / "progress.json"


def stacks_path(scratch: Path, rank: int) -> Path:
    return scratch / f"stacks-{rank}.txt"


def read_progress(scratch: Path) -> ProgressReport | None:
    """The newest report that rank 0 left, or None."""
    try:
        return ProgressReport.load(progress_path(scratch).read_bytes())
    except (OSError, ValueError):
        return None


def now() -> float:
    """The clock of `ended_at`."""
    return time.monotonic()


def attempt_record(progress: ProgressReport, kind: EndKind, **fields: Any) -> AttemptRecord:
    """The record of an attempt that got as far as its last report says."""
    return AttemptRecord(
        uid=progress.uid,
        attempt=progress.attempt,
        run=progress.run,
        kind=kind,
        step=progress.step,
        from_step=progress.from_step,
        total_steps=progress.total_steps,
        checkpoint=progress.checkpoint,
        effective=progress.effective,
        warnings=progress.warnings,
        **{name: getattr(progress, name) for name in FIGURES},
    ).model_copy(update=fields)
