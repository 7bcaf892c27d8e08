"""What a person may ask of a job that is there, and whether that has come about; asks nobody."""

from __future__ import annotations

from enum import Enum
from typing import Any

from ..errors import CliError, EndedError, RefusedJobError

Document = dict[str, Any]
TERMINAL = ("Succeeded", "Failed", "Cancelled")


class Wish(Enum):
    """The value is what the person types."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"

    @property
    def spec(self) -> dict[str, bool]:
        """The fields of the spec that say so."""
        return {"cancel": True} if self is Wish.CANCEL else {"suspend": self is Wish.PAUSE}


def is_said(job: Document, wish: Wish) -> bool:
    """Whether the spec asks for this already. Raises EndedError for a job that has ended otherwise."""
    if phase(job) == "Cancelled" and wish is Wish.CANCEL:
        return True
    if phase(job) in TERMINAL:
        mend = "delete it and apply the manifest again to go on from its checkpoints"
        raise EndedError(f"{name(job)} has ended: {phase(job)}{_reason(job)}; {mend}")
    spec = job.get("spec") or {}
    if wish is not Wish.CANCEL and spec.get("cancel"):
        raise EndedError(f"{name(job)} is being cancelled, and that is for good")
    return all(spec.get(field, False) == value for field, value in wish.spec.items())


def is_reached(job: Document, wish: Wish) -> bool:
    """Whether the job is where it was to go. Raises CliError where it never will be."""
    at, seen = phase(job), (job.get("status") or {}).get("observedGeneration") or 0
    if at in TERMINAL:
        if at == "Cancelled" and wish is Wish.CANCEL:
            return True
        if at == "Succeeded" and wish is Wish.RESUME:
            return True
        if at == "Failed" and wish is Wish.RESUME:
            raise CliError(f"{name(job)} has failed{_reason(job)}")
        raise EndedError(f"{name(job)} ended before that: {at}{_reason(job)}")
    if seen < (job["metadata"].get("generation") or 0):
        return False  # the status is about what the spec said before
    refused = condition(job, "Accepted")
    if wish is Wish.RESUME and refused.get("status") == "False":
        raise RefusedJobError(f"{name(job)} is refused: {refused.get('reason')}: {refused.get('message')}")
    return at == {Wish.PAUSE: "Suspended", Wish.RESUME: "Running"}.get(wish)


def told(job: Document, wish: Wish) -> str:
    """One line on where the job stands after the wish."""
    at = phase(job)
    if at == "Cancelled":
        return f"{name(job)} is cancelled{_at_step(job)}; kept: {kept(job)}"
    if wish is Wish.CANCEL:
        return f"{name(job)} is being cancelled; kept: {kept(job)}"
    if wish is Wish.RESUME:
        return f"{name(job)} is {at.lower()}" if at != "Suspended" else f"{name(job)} goes on{_at_step(job)}"
    if at == "Suspended":
        return f"{name(job)} is paused{_at_step(job)}"
    return f"{name(job)} is being paused: the trainer saves a checkpoint and ends"


def waits_for(job: Document) -> str:
    """Phase and what it is about, for a person who waits."""
    running = condition(job, "Running")
    return ": ".join(part for part in (phase(job), running.get("reason"), running.get("message")) if part)


def kept(job: Document) -> str:
    """What stays of a cancelled job."""
    storage = (job.get("spec") or {}).get("storage") or {}
    claim = (storage.get("claim") or {}).get("name") or f"{name(job)}-data"
    return f"the job with its record, and its checkpoints on claim {claim} under {name(job)}/"


def name(job: Document) -> str:
    found: str = job["metadata"]["name"]
    return found


def phase(job: Document) -> str:
    """The phase; Pending where nobody has looked at the job yet."""
    return str((job.get("status") or {}).get("phase") or "Pending")


def condition(job: Document, kind: str) -> Document:
    """The condition of a type; empty where there is none."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return next((found for found in conditions if found.get("type") == kind), {})


def _reason(job: Document) -> str:
    reason = condition(job, phase(job)).get("reason")
    return f" ({reason})" if reason else ""


def _at_step(job: Document) -> str:
    latest = ((job.get("status") or {}).get("checkpoint") or {}).get("latest") or {}
    return f" at the checkpoint of step {latest['step']}" if "step" in latest else ""
