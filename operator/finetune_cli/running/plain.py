"""The view for logs and pipes: one line for each thing that is new; no colours, no cursor."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TextIO

from finetune_api.trainer_contract import ProgressReport
from finetune_operator.kube.protocol import Document

from .numbers import duration, measured
from .story import STAGES, Line, Story

_SECONDS_BETWEEN = 5.0


class PlainView:
    """Phases, stages, events and warnings when they change, progress every few seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._story = Story()
        self._phase: tuple[str | None, int | None] = (None, None)
        self._stage: tuple[int, str] | None = None
        self._checkpoint = 0
        self._step = 0
        self._next = 0.0

    def job(self, job: Document) -> None:
        status = job.get("status") or {}
        phase = (status.get("phase"), status.get("attempt"))
        if phase[0] and phase != self._phase:
            self._phase = phase
            self.say(f"{phase[0]} attempt {phase[1]}" if phase[0] in ("Starting", "Running") else f"{phase[0]}")
        self._tell(self._story.job(job))

    def report(self, report: ProgressReport) -> None:
        self._tell(self._story.report(report))
        # A line for each save would be two more for each checkpoint, which has its own.
        if (report.run, report.stage) != self._stage and report.stage != "Saving":
            self._stage = (report.run, report.stage)
            resumed = f" from step {report.from_step}" if report.from_step and report.stage == "Training" else ""
            self.say(f"{STAGES[report.stage]}{resumed}")
        latest = report.checkpoint.latest
        if latest is not None and latest.step > self._checkpoint:
            self._checkpoint = latest.step
            self.say(f"checkpoint at step {latest.step}")
        if report.step != self._step and report.loss is not None and time.monotonic() >= self._next:
            self._step, self._next = report.step, time.monotonic() + _SECONDS_BETWEEN
            self.say(
                f"step {report.step}/{report.total_steps or '?'} loss {measured(report.loss)} "
                f"eval {measured(report.eval_loss)} {report.tokens_per_second or 0:.0f} tokens/s "
                f"ETA {duration(report.remaining_seconds)}"
            )

    def event(self, event: Document) -> None:
        self._tell(self._story.event(event))

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=self._stream, flush=True)

    def _tell(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self.say(line.text)
