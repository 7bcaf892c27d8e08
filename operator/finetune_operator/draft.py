"""A decision while it is being made: the next status, what is to be made and deleted, and what to say about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from finetune_api.v1alpha1.status import FineTuneJobStatus

from . import conditions
from .observation import Child, Observation, Pod


@dataclass(frozen=True)
class Note:
    """An event to be raised, once the status is written."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Decision:
    """Everything that a reconcile does, in the order in which it is done."""

    create: tuple[dict[str, Any], ...] = ()
    """Documents; each may be there already."""
    delete: tuple[Child, ...] = ()
    force_delete: tuple[Pod, ...] = ()
    delete_job: bool = False
    status: FineTuneJobStatus | None = None
    """The whole status; None leaves it."""
    from_report: bool = False
    """The status moved by a progress report alone."""
    notes: tuple[Note, ...] = ()
    again_after: float | None = None
    """Seconds until the clock alone may change the decision."""
    poll: Pod | None = None
    """The pod to be asked for progress."""


@dataclass
class Draft:
    """Collects a decision about one observation."""

    seen: Observation
    now: datetime
    status: FineTuneJobStatus = field(init=False)
    notes: list[Note] = field(default_factory=list)
    create: list[dict[str, Any]] = field(default_factory=list)
    delete: list[Child] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    poll: Pod | None = None
    delete_job: bool = False
    from_report: bool = False

    def __post_init__(self) -> None:
        # Parts are replaced, never changed in place: a shallow copy is enough.
        self.status = self.seen.status.model_copy()
        self.status.observed_generation = self.seen.generation

    def condition(self, kind: str, value: bool, reason: str, message: str = "") -> None:
        self.status.conditions = conditions.put(
            self.status.conditions, kind, value, reason, message, self.seen.generation, self.now
        )

    def set_if_there(self, kind: str, value: bool, reason: str, message: str = "") -> None:
        """Moves a condition that says something already; does not bring it in."""
        if conditions.find(self.status.conditions, kind) is not None:
            self.condition(kind, value, reason, message)

    def phase(self, name: str, reason: str, message: str = "") -> None:
        """Moves the phase and, with it, the conditions that tools like kstatus read."""
        self.status.phase = name
        self.set_if_there("Suspended", name == "Suspended", reason if name == "Suspended" else "NotSuspended", message)
        self.condition("Running", name == "Running", reason, message)
        self.condition("Ready", name == "Succeeded", reason, message)
        busy = name not in ("Succeeded", "Failed", "Cancelled", "Suspended")
        stalled = name == "Failed" or (conditions.is_true(self.status.conditions, "Stalled") and busy)
        self.condition("Reconciling", busy and not stalled, reason, message)
        if stalled:
            self.condition("Stalled", True, reason, message)
        else:
            self.set_if_there("Stalled", False, reason, message)

    def normal(self, reason: str, message: str) -> None:
        self.notes.append(Note("Normal", reason, message))

    def warn(self, reason: str, message: str) -> None:
        self.notes.append(Note("Warning", reason, message))

    def say_nothing(self) -> None:
        """Leaves the status as it is."""
        self.status = self.seen.status.model_copy()

    def drop(self, reason: str) -> None:
        """Takes back what was to be said for this reason."""
        self.notes = [note for note in self.notes if note.reason != reason]

    def look_again(self, seconds: float | None) -> None:
        """Asks for another look, no later than in this time."""
        if seconds is not None:
            self.again.append(max(0.05, seconds))

    def decision(self) -> Decision:
        return Decision(
            create=tuple(self.create),
            delete=(*self.delete, *self.seen.stray),
            force_delete=self.seen.lost_pods,
            delete_job=self.delete_job,
            status=None if self.status == self.seen.status else self.status,
            from_report=self.from_report,
            notes=tuple(self.notes),
            again_after=min(self.again, default=None),
            poll=self.poll,
        )
