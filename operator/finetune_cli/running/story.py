"""What has happened to a run, told once and in order: lines of text for every view; draws nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from finetune_api.trainer_contract import ProgressReport
from finetune_operator.kube.protocol import Document

STAGES = {
    "Starting": "starting the trainer",
    "LoadingData": "loading the data",
    "LoadingModel": "loading the model",
    "Training": "training",
    "Evaluating": "evaluating",
    "Saving": "saving a checkpoint",
    "Finishing": "writing the result",
}
_TOLD_OTHERWISE = ("Unusual", "TrainerWarning", "Retrying")
"""Events that repeat what the status has; and of a kind there is only one a minute, the status tells them all."""
_TERMINAL = ("Succeeded", "Failed", "Cancelled")


class Line(NamedTuple):
    """Something that happened. A worry is what a person may have to do something about."""

    text: str
    worry: bool = False


class Story:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._phase = ""
        self._retried = 0
        self._adapted = 0
        self._warnings: set[str] = set()

    def job(self, job: Document) -> Iterator[Line]:
        """What is new in the FineTuneJob."""
        status = job.get("status") or {}
        self._phase, attempt = status.get("phase") or "", status.get("attempt") or 1
        adapted = (status.get("restarts") or {}).get("outOfMemory") or 0
        if self._phase == "Retrying" and attempt > self._retried:
            self._retried = attempt
            yield Line(f"{_ended(status)}; attempt {attempt} follows{_from_checkpoint(status)}", worry=True)
            if adapted > self._adapted:
                yield Line(f"Adapted: {(status.get('effective') or {}).get('because', [''])[-1]}", worry=True)
        self._adapted = adapted
        yield from self._new_warnings(status.get("warnings") or ())

    def report(self, report: ProgressReport) -> Iterator[Line]:
        """What the running trainer warns of."""
        yield from self._new_warnings(report.warnings)

    def event(self, event: Document) -> Iterator[Line]:
        """A warning, what the job waits for or now does otherwise. What ended it is left to the last words."""
        if event.get("reason") == "WaitingForJob":
            yield Line(str(event.get("note")))
        told = event.get("reason") in _TOLD_OTHERWISE or self._phase in _TERMINAL
        if event.get("type") == "Warning" and not told:
            yield Line(f"{event.get('reason')}: {event.get('note')}", worry=True)

    def _new_warnings(self, warnings: Iterable[str]) -> Iterator[Line]:
        for warning in warnings:
            if warning not in self._warnings:
                self._warnings.add(warning)
                yield Line(f"warning: {warning}", worry=True)


def waiting_for(status: dict[str, Any]) -> str:
    """What a job without a running trainer is about to do; empty where one runs or should."""
    phase = status.get("phase")
    if phase == "Retrying":
        return f"the next attempt is about to start{_from_checkpoint(status)}"
    if phase == "Suspending":
        return "the trainer saves a checkpoint and ends"
    if phase == "Suspended":
        return f"paused{_from_checkpoint(status).replace(' from', ' at')}"
    if phase == "Cancelled":
        return "cancelled; checkpoints and record are kept"
    return ""


def _ended(status: dict[str, Any]) -> str:
    """How the attempt before ended, as the operator says it."""
    conditions = status.get("conditions") or ()
    message = next((found.get("message") for found in conditions if found["type"] == "Running"), None)
    return str(message or "the attempt ended").rstrip(".")


def _from_checkpoint(status: dict[str, Any]) -> str:
    latest = (status.get("checkpoint") or {}).get("latest") or {}
    return f" from the checkpoint of step {latest['step']}" if "step" in latest else " from the beginning"
