"""What follows the end of an attempt: done, failed, or another one, at whose cost and how soon."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from finetune_api.trainer_contract import VOLUME_FULL, Adaptation
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import FineTuneJobStatus

from .. import times
from . import disruption, divergence, memory
from .ends import End

MAXIMUM_RETRIES, BACKOFF, LONGEST_BACKOFF = 3, 10, 300
CHARGED = frozenset({"Crash", "Hang", "DeviceUnavailable", "StartDeadlineExceeded", VOLUME_FULL, disruption.TOO_OFTEN})
"""Reasons in history that use up retries and are waited after."""

Charge = Literal["failures", "out_of_memory", "disruptions", "hangs", "divergences"]

_ADVICE = {
    "Hang": "See the stacks of all ranks in the log; raise retryPolicy.hangTimeoutSeconds if the step was only slow.",
    "DeviceUnavailable": "Check that the node's device plugin works and that compute.gpuResource names its devices.",
    "StartDeadlineExceeded": "Ask for less, free capacity, or raise retryPolicy.startDeadlineSeconds.",
    "Diverged": "Lower hyperparameters.learningRate, raise warmupRatio, or use precision BF16 or FP32.",
    VOLUME_FULL: "Free space on the volume of the results, or let it grow.",
    "Crash": "Look at the log of the failed pod: kubectl logs --previous, or train.log on the volume.",
    disruption.TOO_OFTEN: "Write checkpoints more often (checkpoint.everyMinutes), or place the job elsewhere.",
}


@dataclass(frozen=True)
class Verdict:
    """What the end of an attempt means for the job."""

    outcome: Literal["Succeeded", "Failed", "Retry"]
    reason: str
    advice: str = ""
    charge: Charge | None = None
    adaptation: Adaptation | None = None
    diverged_at: int | None = None
    """The step before which the next attempt goes back."""


def verdict(end: End, status: FineTuneJobStatus, spec: FineTuneJobSpec, checkpoint_step: int | None) -> Verdict:
    """Applies the table of ends to one end. `status` is that before the end is written into it."""
    advice = (end.record.advice if end.record else "") or _ADVICE.get(end.reason, "")
    if end.name == "Finished":
        return Verdict("Succeeded", "Finished")
    if end.name in ("UserError", "DeadlineExceeded"):
        return Verdict("Failed", end.name, advice)
    if end.name == "Diverged":
        return _diverged(end, status, spec, advice)
    if end.name in ("DeviceOutOfMemory", "HostOutOfMemory"):
        adaptation, said = memory.adapt(end, status, spec)
        if adaptation is None:
            return Verdict("Failed", end.name, said or advice, "out_of_memory")
        return Verdict("Retry", end.name, said, "out_of_memory", adaptation)
    if end.name in ("Interrupted", "Disrupted"):
        if not disruption.too_often(status, checkpoint_step):
            return Verdict("Retry", end.reason, advice, "disruptions")
        return _charged(disruption.TOO_OFTEN, _ADVICE[disruption.TOO_OFTEN], "failures", status, spec)
    return _charged(end.reason, advice, "hangs" if end.name == "Hang" else "failures", status, spec)


def _diverged(end: End, status: FineTuneJobStatus, spec: FineTuneJobSpec, advice: str) -> Verdict:
    if divergence.goes_back(status, spec):
        step = divergence.step_of(end, status)
        return Verdict("Retry", end.name, divergence.said(step), "divergences", diverged_at=step)
    again = divergence.AGAIN if divergence.went_back(status) else ""
    return Verdict("Failed", end.name, f"{again} {advice}".strip())


def _charged(reason: str, advice: str, charge: Charge, status: FineTuneJobStatus, spec: FineTuneJobSpec) -> Verdict:
    policy = spec.retry_policy
    allowed = policy.max_retries if policy and policy.max_retries is not None else MAXIMUM_RETRIES
    return Verdict("Failed" if used(status) >= allowed else "Retry", reason, advice, charge)


def used(status: FineTuneJobStatus) -> int:
    """Retries that were used up so far."""
    return status.restarts.failures + status.restarts.hangs if status.restarts else 0


def next_start(status: FineTuneJobStatus, spec: FineTuneJobSpec) -> datetime | None:
    """The moment from which the next attempt may start; None is at once. Derived from status: restarts lose nothing."""
    last = status.history[-1] if status.history else None
    ended = times.parse(last.ended) if last else None
    if last is None or ended is None:
        return None
    if last.reason in CHARGED:
        again = used(status) - 1
    elif last.reason in disruption.FREE:
        again = disruption.without_progress(status.history or []) - 2  # the first goes on at once
    else:
        return None
    if again < 0:
        return None
    policy = spec.retry_policy
    first = policy.backoff_seconds if policy and policy.backoff_seconds is not None else BACKOFF
    longest = policy.max_backoff_seconds if policy and policy.max_backoff_seconds is not None else LONGEST_BACKOFF
    if last.reason == VOLUME_FULL:
        first = longest  # somebody has to make room: a retry at once would only use itself up
    return ended + timedelta(seconds=min(first * 2 ** min(again, 20), longest))
