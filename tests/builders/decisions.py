"""Decisions about the observations of tests, and what is in them in a few words; knows no cluster."""

from datetime import timedelta

from finetune_operator.decide import decide
from finetune_operator.draft import Decision
from finetune_operator.settings import Settings
from tests.builders.observations import NOW, JobSeen

SETTINGS = Settings()


def decided(job: JobSeen, later: float = 0) -> Decision:
    return decide(job.build(), SETTINGS, NOW + timedelta(seconds=later))


def phase(decision: Decision) -> str | None:
    return decision.status.phase if decision.status else None


def kinds(decision: Decision) -> list[str]:
    return [document["kind"] for document in decision.create]


def reasons(decision: Decision) -> list[str]:
    """What is said, by its reasons."""
    return [note.reason for note in decision.notes]


def reason_of(decision: Decision, condition: str) -> str | None:
    conditions = (decision.status.conditions if decision.status else None) or []
    return next((c.reason for c in conditions if c.type == condition), None)
