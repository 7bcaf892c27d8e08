"""Writing a checkpoint with all ranks while training goes on: what is written when, agreement, and what came of it.

At the step boundary every rank has its files written to memory, which holds training up; a thread then brings them to
the volume and makes them a checkpoint. A full disk costs the checkpoint only.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from finetune_api.trainer_contract import CheckpointState, ManifestFile, Saves

from . import checkpoints, staging
from .channel import Channel
from .disk import beat_while_written
from .errors import FencedOff
from .fencing import RunClaim
from .progress import Progress
from .rank import Rank
from .results import Results
from .world import World

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_CHECKS = 2.0


@dataclass(frozen=True)
class Keeping:
    """Which checkpoints stay."""

    keep: int
    keep_best: bool
    metric: str
    greater_is_better: bool


@dataclass
class _Save:
    """A checkpoint on its way."""

    step: int
    value: float | None
    began: float
    part: staging.Part | None = None
    problem: str = ""
    newer: int | None = None
    """The run that has taken over."""
    complete: bool = False
    bytes: int = 0
    seconds: float = 0.0
    stalled: float = 0.0
    state: CheckpointState | None = None
    error: BaseException | None = None
    thread: threading.Thread | None = None
    brought: threading.Event = field(default_factory=threading.Event)
    """This rank has done its part."""
    moved_at: float = field(default_factory=time.monotonic)
    """When something of it last came to the volume."""


class CheckpointWriter:
    """Writes the checkpoints of a run and keeps the wanted ones. Used by the thread that trains."""

    def __init__(
        self, rank: Rank, world: World, results: Results, progress: Progress, keeping: Keeping, *,
        overlapped: bool = True,
    ) -> None:  # fmt: skip
        """`overlapped`: training goes on while a checkpoint is brought to the volume."""
        self._rank = rank
        self._world = world
        self._results = results
        self._progress = progress
        self._keeping = keeping
        self._overlapped = overlapped
        # Only rank 0's node knows the run's number.
        self._claim = RunClaim(results, world.from_leader(rank.run))
        self._channel = Channel(world.size)
        staging.clear()
        self._pending: _Save | None = None
        self._checked_at = time.monotonic()
        self.expected_bytes: Callable[[], int] = lambda: 0
        """How large this rank's files will be; set by the trainer."""
        self.value: float | None = None
        """The metric at the current step, where it was measured there."""
        self.last_step: int | None = None
        """The step of the newest complete checkpoint of this run."""
        self.last_seconds = 0.0
        self.saved_at = time.monotonic()

    # -- for the thread that trains

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is on its way."""
        return self._pending is not None

    @property
    def moved_at(self) -> float:
        """When something last came to the volume, of the checkpoint on its way or of the one before."""
        return self._pending.moved_at if self._pending is not None else self.saved_at

    def write(self, step: int, write_files: Callable[[Path], None], *, last: bool = False) -> None:
        """Begins a checkpoint of the state as it is now; every rank calls it.

        `last`: nothing is trained after it, so that it is complete, or known to have failed, when this returns.
        Raises FencedOff.
        """
        with self._progress.meanwhile("Saving"):
            self._write(step, write_files, last=last)

    def _write(self, step: int, write_files: Callable[[Path], None], *, last: bool) -> None:
        waited_from = time.monotonic()
        self.settle()
        if step == self.last_step:
            return
        save = _Save(step, self.value, time.monotonic())
        try:
            if self._rank.leads:
                self._claim.check()
            save.part = self._snapshot(step, write_files, in_memory=self._overlapped and not last)
        except FencedOff as error:
            save.newer = error.newer
        except (OSError, RuntimeError, _SafetensorError()) as error:
            save.problem = f"{type(error).__name__}: {error}"
        save.thread = threading.Thread(target=self._complete, args=(save,), name="saving", daemon=True)
        self._pending = save
        save.stalled = time.monotonic() - waited_from
        save.thread.start()
        if last or not self._overlapped:
            self.settle()

    def look(self) -> None:
        """Takes notice of a checkpoint that is complete, and of a newer run; to be called often. Raises FencedOff."""
        if self._pending is not None and self._pending.thread is not None and not self._pending.thread.is_alive():
            self._take_notice()
        if self._rank.leads and time.monotonic() - self._checked_at > SECONDS_BETWEEN_CHECKS:
            self._checked_at = time.monotonic()
            # A volume that does not let itself be read at the moment says nothing: every commit is fenced anyway.
            with suppress(OSError):
                self._claim.check()

    def settle(self) -> None:
        """Waits for the checkpoint that is on its way; every rank calls it. Raises FencedOff."""
        save = self._pending
        if save is None or save.thread is None:
            return
        waited_from = time.monotonic()
        save.brought.wait()
        if self._world.size > 1:
            with self._rank.heartbeat.waiting():
                save.thread.join()
        else:
            save.thread.join()
        save.stalled += time.monotonic() - waited_from
        self._take_notice()

    def state(self) -> CheckpointState:
        """What status shows of the complete checkpoints."""
        return checkpoints.state_of(self._results.checkpoints, greater_is_better=self._keeping.greater_is_better)

    def _snapshot(self, step: int, write_files: Callable[[Path], None], *, in_memory: bool) -> staging.Part:
        """Has this rank's files written: to memory, or to the workspace where that has no room."""
        name = checkpoints.directory_name(step, self._claim.number)
        if in_memory and self.expected_bytes() <= staging.room():
            try:
                unique = f"{self._rank.scratch.name}-{self._rank.number}-{name}"
                return staging.write_in_memory(unique, write_files, self._rank.heartbeat)
            except (OSError, RuntimeError, _SafetensorError()) as error:
                logger.info("No room in memory for %s: %s", name, error)
        directory = self._claim.workspace / f"{name}.rank-{self._rank.number}"
        # Without parents: a workspace that was taken away must stay away.
        directory.mkdir(exist_ok=True)
        with beat_while_written(directory, self._rank.heartbeat):
            write_files(directory)
        return staging.Part([], directory)

    def _take_notice(self) -> None:
        save, self._pending = self._pending, None
        assert save is not None
        self.last_seconds, self.saved_at = save.seconds, time.monotonic()
        if save.error is not None:
            raise save.error
        if save.newer is not None:
            # Whatever lies there now belongs to the newer run.
            raise FencedOff(self._claim.number, save.newer)
        told = self._progress.report.saves
        if save.complete:
            self.last_step = save.step
            self._progress.update(now=True, checkpoint=save.state, saves=_added(told, save))
        else:
            warning = f"The checkpoint of step {save.step} could not be written ({save.problem}); training goes on."
            self._progress.warn(f"{warning} The checkpoints before it are untouched.")
            self._progress.update(now=True, saves=told.model_copy(update={"failed": told.failed + 1}))

    # -- in the thread that saves

    def _complete(self, save: _Save) -> None:
        try:
            self._bring(save)
        except BaseException as error:
            save.error = error
        finally:
            save.brought.set()
            if save.part is not None:
                save.part.drop()
            save.seconds = time.monotonic() - save.began

    def _bring(self, save: _Save) -> None:
        name = checkpoints.directory_name(save.step, self._claim.number)
        made = self._claim.workspace / name
        files: list[ManifestFile] = []

        def moved(amount: int) -> None:
            save.moved_at = time.monotonic()
            self._rank.heartbeat(amount)

        try:
            if save.part is not None:
                files = save.part.bring(made, moved)
        except OSError as error:
            save.problem = str(error)
        save.brought.set()
        parts = self._channel.gather((files, save.problem))
        problem = next((said for _, said in parts if said), "")
        if self._rank.leads:
            self._commit(save, made, [file for part, _ in parts for file in part], problem)
        told = self._channel.from_leader((save.complete, save.problem or problem, save.newer))
        save.complete, save.problem, save.newer = told

    def _commit(self, save: _Save, made: Path, files: list[ManifestFile], problem: str) -> None:
        """Makes it a checkpoint, or gives its room back. Rank 0 only."""
        try:
            self._claim.check()
            if not problem:
                checkpoints.commit(
                    made, self._results.checkpoints / made.name, files, self._claim, step=save.step,
                    world_size=self._world.size, metric=self._keeping.metric, value=save.value,
                    seconds=time.monotonic() - save.began,
                )  # fmt: skip
                save.complete, save.bytes = True, sum(file.bytes for file in files)
                logger.info("Checkpoint %s is complete", made.name)
                self._rotate()
                save.state = self.state()
        except FencedOff as error:
            save.newer = error.newer
        except OSError as error:
            save.problem = str(error)
        if not save.complete:
            shutil.rmtree(made, ignore_errors=True)

    def _rotate(self) -> None:
        keeping = self._keeping
        try:
            checkpoints.rotate(
                self._results.checkpoints, self._claim, keep=keeping.keep, keep_best=keeping.keep_best,
                greater_is_better=keeping.greater_is_better,
            )  # fmt: skip
        except OSError as error:
            logger.warning("An old checkpoint could not be deleted: %s", error)


def _added(told: Saves, save: _Save) -> Saves:
    return Saves(
        written=told.written + 1,
        failed=told.failed,
        bytes=told.bytes + save.bytes,
        seconds=round(told.seconds + save.seconds, 3),
        stall_seconds=round(told.stall_seconds + save.stalled, 3),
    )


def _SafetensorError() -> type[Exception]:  # noqa: N802  # it stands for the class, which is imported late
    from safetensors import SafetensorError

    error: type[Exception] = SafetensorError
    return error
