"""What rank 0 tells while it works: the progress report for the endpoint, metrics.jsonl and TensorBoard."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

from finetune_api.trainer_contract import CheckpointState, Effective, ProgressReport, Stage

from .completion import read_metrics
from .fencing import RunClaim
from .files import write_atomically
from .rank import Rank
from .records import progress_path, read_progress
from .results import Results, timestamp

logger = logging.getLogger(__name__)

_SHORTEST_INTERVAL = 0.5


class Progress:
    """The report; other ranks than 0 keep it to themselves."""

    def __init__(self, rank: Rank) -> None:
        self._path = progress_path(rank.scratch)
        self._writes = rank.leads
        self._heartbeat = rank.heartbeat
        self._written = -math.inf
        self.report = read_progress(rank.scratch) or ProgressReport(
            uid=rank.config.job.uid,
            attempt=rank.config.attempt,
            run=rank.run,
            stage="Starting",
            updated_at=timestamp(),
        )

    def stage(self, stage: Stage) -> None:
        """Enters a stage; said at once."""
        self.update(now=True, stage=stage)

    @contextmanager
    def meanwhile(self, stage: Stage) -> Iterator[None]:
        """Within, another stage; an error stays in it."""
        before = self.report.stage
        self.stage(stage)
        yield
        self.stage(before)

    def warn(self, warning: str) -> None:
        """Adds a warning, once."""
        if warning not in self.report.warnings:
            if self._writes:
                logger.warning(warning)
            self.update(now=True, warnings=[*self.report.warnings, warning])

    def checkpoints(self, state: CheckpointState) -> None:
        self.update(now=True, checkpoint=state)

    def effective(self, effective: Effective) -> None:
        self.update(now=True, effective=effective)

    def update(self, *, now: bool = False, **fields: Any) -> None:
        """Changes fields of the report and writes it, at most twice a second unless `now`."""
        finite = {name: _finite(value) for name, value in fields.items()}
        self.report = self.report.model_copy(update={**finite, "updated_at": timestamp()})
        if "stage" in fields or "step" in fields:
            self._heartbeat.doing(self.report.stage, self.report.step)
        if self._writes and (now or time.monotonic() - self._written > _SHORTEST_INTERVAL):
            # A place that takes no more costs what is shown, not the training.
            with suppress(OSError):
                write_atomically(self._path, json.dumps(self.report.dump()))
            self._written = time.monotonic()


class Journal:
    """metrics.jsonl and, if asked for, TensorBoard's event files: one entry for each logged step."""

    def __init__(self, results: Results, claim: RunClaim, from_step: int, *, tensor_board: bool) -> None:
        """Entries after `from_step` are of steps that this run does again: they are dropped. Raises FencedOff."""
        self._claim, self._path = claim, results.metrics
        # From the beginning even the figures before the first step are measured again.
        self.entries = [entry for entry in read_metrics(results) if entry["step"] <= from_step] if from_step else []
        self._file: IO[bytes] | None = None
        self._owed = b""
        self._write()
        self._events: Any = None
        if tensor_board:
            from torch.utils.tensorboard import SummaryWriter

            with self._events_may_fail():  # it writes its first one at once
                self._events = cast(Any, SummaryWriter)(log_dir=str(results.logs), purge_step=from_step + 1)

    def add(self, step: int, values: dict[str, float | None]) -> None:
        """Appends an entry; a number that is not finite becomes null.

        A full disk stops no training: its lines are written once there is room again, TensorBoard's events are not.
        """
        entry = {"step": step, "run": self._claim.number, **{name: _finite(value) for name, value in values.items()}}
        self.entries.append(entry)
        self._owed += _line(entry)
        self._write()
        with self._events_may_fail():
            for name, value in entry.items():
                if self._events is not None and name not in ("step", "run") and value is not None:
                    self._events.add_scalar(_tag(name), value, step)

    def _write(self) -> None:
        with suppress(OSError):
            if self._file is None:
                # Kept open: once a newer run has replaced it, nobody reads what this one still writes.
                self._file = self._claim.replace(self._path, b"".join(map(_line, self.entries)))
                self._owed = b""
            self._owed = self._owed[self._file.write(self._owed) :]

    @contextmanager
    def _events_may_fail(self) -> Iterator[None]:
        """TensorBoard's writer raises what its thread met earlier, and goes on raising it."""
        try:
            yield
        except OSError as error:
            logger.warning("No more events for TensorBoard: %s", error)
            self._events = None

    def values(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of every entry that has the name, in order."""
        return [(entry["step"], entry[name]) for entry in self.entries if entry.get(name) is not None]

    @property
    def began_at(self) -> int:
        """The step of which nothing before is known: 0, or that of a checkpoint which came without its figures."""
        return next((entry["step"] for entry in self.entries if entry.get("began")), 0)

    def close(self) -> None:
        """Writes what is still owed, if there is room by now. Raises FencedOff."""
        self._write()
        if self._file is not None:
            self._file.close()
        with self._events_may_fail():
            if self._events is not None:
                self._events.close()


def mean_over_steps(curve: Iterable[tuple[int, float]], after: int = 0) -> float | None:
    """The mean of a curve after a step; its points each stand for the steps since the point before."""
    total, last = 0.0, after
    for step, value in curve:
        total += value * (step - last)
        last = step
    return total / (last - after) if last > after else None


def _line(entry: dict[str, Any]) -> bytes:
    return (json.dumps(entry) + "\n").encode()


def _tag(name: str) -> str:
    return f"evaluation/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class TrainLog(logging.Handler):
    """logs/train.log: what the runs before wrote, and this one's lines. A full disk costs lines, not the training."""

    def __init__(self, results: Results, claim: RunClaim) -> None:
        """Raises FencedOff."""
        super().__init__()
        path = results.logs / "train.log"
        self._file: IO[bytes] | None = None
        with suppress(OSError):
            self._file = claim.replace(path, path.read_bytes() if path.exists() else b"")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):
            if self._file is not None:
                self._file.write(f"{self.format(record)}\n".encode())
