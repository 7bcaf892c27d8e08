"""Writing a checkpoint with all ranks: files, agreement, manifest, rotation. A full disk costs the checkpoint only."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from finetune_api.trainer_contract import CheckpointState

from . import checkpoints
from .errors import FencedOff
from .files import size_of
from .heartbeats import beat_while_moving
from .progress import Progress
from .rank import Rank
from .results import Results, RunClaim
from .world import World

logger = logging.getLogger(__name__)


class CheckpointWriter:
    """Writes the checkpoints of a run and keeps the wanted ones."""

    def __init__(
        self, rank: Rank, world: World, results: Results, progress: Progress,
        *, keep: int, keep_best: bool, metric: str | None, greater_is_better: bool,
    ) -> None:  # fmt: skip
        self._rank = rank
        self._world = world
        self._results = results
        self._progress = progress
        self._claim = RunClaim(results, rank.run)
        self._keep = keep
        self._keep_best = keep_best
        self._metric = metric
        self.greater_is_better = greater_is_better
        self.value: float | None = None
        """The metric at the current step, where it was measured there."""
        self.last_step: int | None = None
        """The step of the newest complete checkpoint of this run."""
        self.last_seconds = 0.0
        self.saved_at = time.monotonic()

    def write(self, step: int, write_files: Callable[[Path], None]) -> bool:
        """Writes a checkpoint; every rank calls it. Returns whether it is complete. Raises FencedOff.

        No rank returns before the manifest is in its place.
        """
        if step == self.last_step:
            return True
        began = time.monotonic()
        stage = self._progress.report.stage
        self._progress.stage("Saving")
        directory = self._results.checkpoints / checkpoints.directory_name(step, self._rank.run)
        fenced, problem = None, ""
        try:
            if self._rank.leads:
                self._claim.check()
            directory.mkdir(parents=True, exist_ok=True)
            with beat_while_moving(lambda: size_of(directory), self._rank.heartbeat):
                write_files(directory)
        except FencedOff as error:
            fenced = error
        except (OSError, RuntimeError, _SafetensorError()) as error:
            problem = f"{type(error).__name__}: {error}"
        written = self._world.all_true(not problem and fenced is None)
        if written and self._rank.leads:
            try:
                self._commit(directory, step)
            except FencedOff as error:
                fenced = error
            except OSError as error:
                problem = str(error)
        if fenced is not None:
            # Whatever lies there now belongs to the newer run.
            raise fenced
        complete = self._world.from_leader(written and not problem)
        if complete:
            self.last_step = step
        else:
            self._give_up(directory, step, problem)
        self.last_seconds = time.monotonic() - began
        self.saved_at = time.monotonic()
        self._progress.stage(stage)
        return complete

    def _commit(self, directory: Path, step: int) -> None:
        checkpoints.commit(
            directory, step=step, claim=self._claim, world_size=self._world.size,
            metric=self._metric, value=self.value, heartbeat=self._rank.heartbeat,
        )  # fmt: skip
        checkpoints.rotate(
            self._results.checkpoints,
            keep=self._keep,
            keep_best=self._keep_best,
            greater_is_better=self.greater_is_better,
        )
        self._progress.checkpoints(self.state())
        logger.info("Checkpoint %s is complete", directory.name)

    def _give_up(self, directory: Path, step: int, problem: str) -> None:
        if self._rank.leads:
            shutil.rmtree(directory, ignore_errors=True)
        why = problem or "another rank could not write its part"
        warning = f"The checkpoint of step {step} could not be written ({why}); training goes on."
        logger.warning("%s The checkpoints before it are untouched.", warning)
        self._progress.warn(warning)

    def state(self) -> CheckpointState:
        """What status shows of the complete checkpoints."""
        return checkpoints.state_of(self._results.checkpoints, greater_is_better=self.greater_is_better)


def _SafetensorError() -> type[Exception]:  # noqa: N802  # it stands for the class, which is imported late
    from safetensors import SafetensorError

    error: type[Exception] = SafetensorError
    return error
