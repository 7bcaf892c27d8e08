"""A loss that is not finite: once a job may go back before it and pass over the rows that led there, if it says so."""

from __future__ import annotations

from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import FineTuneJobStatus

from .ends import End

AGAIN = "It had gone back before a divergence once already."


def goes_back(status: FineTuneJobStatus, spec: FineTuneJobSpec) -> bool:
    """Whether the next attempt goes back before the divergence; counted in status, since history forgets."""
    wanted = spec.retry_policy is not None and spec.retry_policy.on_divergence == "RewindOnce"
    return wanted and not went_back(status)


def went_back(status: FineTuneJobStatus) -> bool:
    return bool(status.restarts and status.restarts.divergences)


def step_of(end: End, status: FineTuneJobStatus) -> int:
    """The step whose loss was not finite: as the trainer says; without its record, one that is surely not before."""
    if end.record is not None and end.record.step:
        return end.record.step
    shown = status.progress.step if status.progress else None
    saved = status.checkpoint.latest.step if status.checkpoint and status.checkpoint.latest else 0
    return max(shown or 0, saved + 1)


def said(step: int) -> str:
    """What the next attempt does differently, for people."""
    return (
        f"the loss of step {step} was not finite: the job goes back to the last finite checkpoint before it, once, and "
        "passes over the rows in between (retryPolicy.onDivergence RewindOnce)"
    )
