"""What a trainer warns of reaches the status, and an event says it once."""

from __future__ import annotations

from tests.builders.decisions import decided
from tests.builders.observations import JobSeen, a_job

TORN = "Checkpoint step-00000100-r1 is torn (files are missing); it was set aside as step-00000100-r1.torn."
FULL = "The checkpoint of step 200 could not be written (No space left on device); training goes on."


def said(job: JobSeen) -> list[str]:
    return [note.message for note in decided(job).notes if note.reason == "TrainerWarning"]


def test_a_warning_of_a_running_trainer_is_an_event_once() -> None:
    job = a_job().running()
    decision = decided(job.reporting(step=7, warnings=[TORN]))
    assert decision.status is not None
    assert decision.status.warnings == [TORN]
    assert said(job.reporting(step=7, warnings=[TORN])) == [TORN]
    known = job.with_status(warnings=[TORN])
    assert said(known.reporting(step=8, warnings=[TORN])) == []
    assert said(known.reporting(step=9, warnings=[TORN, FULL])) == [FULL]


def test_what_only_the_record_of_the_end_tells_is_said_as_well() -> None:
    job = a_job().running().ended("Interrupted", 14, warnings=[FULL])
    assert said(job) == [FULL]
    status = decided(job).status
    assert status is not None
    assert status.warnings == [FULL]


def test_what_is_long_is_cut() -> None:
    status = decided(a_job().running().reporting(step=7, warnings=["x" * 60_000])).status
    assert status is not None
    assert [len(text) for text in status.warnings or ()] == [1024]
