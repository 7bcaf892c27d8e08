"""Decides between two steps what happens: log, evaluate, save, stop. The same on every rank."""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback, TrainerControl

from ..errors import Diverged
from ..evaluation import EvaluationAbandoned
from ..progress import Journal, Progress
from ..rank import Rank
from ..saving import CheckpointWriter
from ..world import Decision, World
from .stopping import EarlyStop

logger = logging.getLogger(__name__)

# Not more often than this, and not more than a twentieth of the time for saving.
SHORTEST_SAVE_INTERVAL_SECONDS = 600.0
SAVE_TIME_FACTOR = 20.0


@dataclass(frozen=True)
class Schedule:
    """What happens at which steps, or how many seconds apart."""

    total_steps: int
    log_every: int
    evaluate_every: int | None
    save_every: int | None
    save_seconds: float | None
    evaluate_with_saves: bool


class Flow(TrainerCallback):
    """The one callback that steers the loop."""

    def __init__(
        self, rank: Rank, world: World, schedule: Schedule, writer: CheckpointWriter, progress: Progress,
        journal: Journal | None, early_stop: EarlyStop | None, metric: str,
    ) -> None:  # fmt: skip
        self._rank = rank
        self._world = world
        self._schedule = schedule
        self._writer = writer
        self._progress = progress
        self._journal = journal
        self._early_stop = early_stop
        self._metric = metric
        self._agreed = Decision.NOTHING
        self._owed_evaluation = False
        self.trainer: Any = None
        self.interrupted = False
        self.stopped_early = False
        self._began = (time.monotonic(), 0)
        self._logged = (time.monotonic(), 0)

    # -- before the first step

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = (time.monotonic(), state.global_step)
        self._logged = (time.monotonic(), self.trainer.tokens_seen)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._rank.heartbeat.in_loop = True

    # -- after every optimizer step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        step, schedule = state.global_step, self._schedule
        self._writer.look()
        self._agree()
        last = step >= schedule.total_steps
        stop = bool(self._agreed & Decision.STOP)
        save = stop or last or bool(self._agreed & Decision.SAVE)
        save = save or (schedule.save_every is not None and step % schedule.save_every == 0)
        self._agreed = Decision.NOTHING
        control.should_save = save
        control.should_training_stop = stop or last
        # Logged with every save, so that a run which continues there has the same points.
        evaluate = self.evaluates_at(step) or (save and schedule.evaluate_with_saves)
        self._owed_evaluation = evaluate and not stop
        control.should_log = save or evaluate or step % schedule.log_every == 0 or step < 10
        self.interrupted = stop
        self._writer.value = None
        self._progress.update(step=step, epoch=state.epoch)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or logs is None:
            return
        step = state.global_step
        if not math.isfinite(loss):
            self._progress.update(now=True, step=step, non_finite=True, loss=None)
            self._writer.settle()
            raise Diverged(step)
        now, tokens = time.monotonic(), self.trainer.tokens_seen
        rate = (tokens - self._logged[1]) / max(now - self._logged[0], 1e-9)
        self._logged = (now, tokens)
        values = {
            "loss": loss,
            "learning_rate": logs.get("learning_rate"),
            "gradient_norm": logs.get("grad_norm"),
            "tokens_per_second": rate * self._world.size,
        }
        self._progress.update(
            step=step, epoch=state.epoch, remaining_seconds=self._remaining(step), **_device_load(self._world), **values
        )
        if self._journal is not None:
            self._journal.add(step, {**values, "epoch": state.epoch})
        if self._rank.leads:
            logger.info("step %d/%d loss %.4f", step, self._schedule.total_steps, loss)
        if self._owed_evaluation:
            self._owed_evaluation = False
            self.evaluate(state, control)

    def evaluate(self, state: Any, control: Any) -> None:
        """Measures, tells, and asks for the end where the ranks agreed on it or nothing gets better."""
        step = state.global_step
        self._progress.stage("Evaluating")
        try:
            metrics = self.trainer.measure()
        except EvaluationAbandoned:
            control.should_save = control.should_training_stop = True
            self.interrupted = True
            return
        finally:
            self._progress.stage("Training")
        if not metrics:
            return
        state.log_history.append({**metrics, "step": step})
        self._writer.value = metrics.get(self._metric)
        self._progress.update(now=True, eval_loss=metrics["eval_loss"])
        if self._journal is not None:
            self._journal.add(step, dict(metrics))
        if self._rank.leads:
            logger.info("step %d %s", step, ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
        if self._early_stop is not None and self._early_stop.reached(state.log_history):
            self.stopped_early = True
            control.should_save = control.should_training_stop = True
        self._logged = (time.monotonic(), self.trainer.tokens_seen)

    def measure_base(self) -> None:
        """The evaluation before the first step, kept as base_*."""
        self._progress.stage("Evaluating")
        try:
            metrics = self.trainer.measure()
        except EvaluationAbandoned:
            self.interrupted = True
            return
        if self._journal is not None and metrics:
            self._journal.add(0, {f"base_{name}": value for name, value in metrics.items()})

    def catch_up(self, state: Any) -> None:
        """What the run before did not come to: the evaluation that belongs to the step it was stopped at."""
        step = state.global_step
        measured = any(entry.get("step") == step and "eval_loss" in entry for entry in state.log_history)
        if self.evaluates_at(step) and not measured:
            self.evaluate(state, TrainerControl())
        elif self._early_stop is not None:
            self.stopped_early = self._early_stop.reached(state.log_history)

    # -- what the ranks agree on

    def stop_agreed(self) -> bool:
        """Asked in an evaluation: whether the ranks have agreed to stop. What else they agreed on is kept."""
        self._agree()
        return bool(self._agreed & Decision.STOP)

    def _agree(self) -> None:
        wish = Decision.STOP if self._rank.interruption.requested else Decision.NOTHING
        if self._rank.leads and self._save_is_due():
            wish |= Decision.SAVE
        self._agreed |= self._world.ask(wish)

    def _save_is_due(self) -> bool:
        seconds = self._schedule.save_seconds
        if self._schedule.save_every is not None:
            return False
        if seconds is None:
            seconds = max(SHORTEST_SAVE_INTERVAL_SECONDS, SAVE_TIME_FACTOR * self._writer.last_seconds)
        if self._writer.busy:
            # One that stands still on its way makes the next one due as well: waiting for it shows a hang.
            seconds = max(seconds, SHORTEST_SAVE_INTERVAL_SECONDS)
        return time.monotonic() - self._writer.moved_at >= seconds

    # -- small questions

    def evaluates_at(self, step: int) -> bool:
        """Whether an evaluation belongs to this step, saves apart."""
        every = self._schedule.evaluate_every
        return every is not None and (step % every == 0 or step >= self._schedule.total_steps)

    def _remaining(self, step: int) -> float | None:
        began, first = self._began
        done = step - first
        return (time.monotonic() - began) / done * (self._schedule.total_steps - step) if done > 0 else None


def _device_load(world: World) -> dict[str, Any]:
    """Memory and utilisation of this rank's device; empty on a CPU."""
    if world.device.type != "cuda":
        return {}
    import torch

    load: dict[str, Any] = {"gpu_memory_bytes": torch.cuda.max_memory_reserved(world.device)}
    # NVML may be missing or not answer: the number is then left out.
    with suppress(Exception):
        load["gpu_utilization"] = torch.cuda.utilization(world.device) / 100
    return load
