"""What is decided about a running attempt's reports: shown, completed from, or that it stands still."""

from typing import Any

import pytest

from tests.builders.decisions import decided
from tests.builders.observations import a_job, past


def test_progress_is_taken_over() -> None:
    decision = decided(a_job().running().reporting(step=120, total_steps=400, remaining_seconds=3100, loss=1.25))
    assert decision.from_report
    assert decision.status is not None
    progress = decision.status.progress
    assert progress is not None
    assert (progress.summary, progress.eta, progress.loss) == ("30% (120/400)", "51m", 1.25)


@pytest.mark.parametrize("said", [{"loss": 0.25, "epoch": 3.0}, {"metrics": {"last_loss": 0.25}}])
def test_the_figures_of_a_finished_job_are_those_of_its_last_step(said: dict[str, Any]) -> None:
    polled = decided(a_job().running().reporting(step=390, total_steps=400, loss=1.25, learning_rate=1e-4)).status
    assert polled is not None
    last = {"step": 400, "totalSteps": 400, "learningRate": 1e-7, **said}
    status = decided(a_job().running().with_(status=polled).ended("Finished", **last)).status
    assert status is not None
    assert status.progress is not None
    assert (status.progress.step, status.progress.loss, status.progress.learning_rate) == (400, 0.25, 1e-7)


def test_a_report_of_an_earlier_attempt_is_ignored() -> None:
    job = a_job().running().reporting(step=1, attempt=7)
    assert not decided(job).from_report


def test_a_killed_run_is_completed_by_the_report_of_the_next() -> None:
    job = a_job().with_status(history=[past("Crash")]).running(attempt=2)
    previous = {"uid": "u", "attempt": 1, "run": 1, "kind": "InternalError", "fromStep": 0}
    decision = decided(job.reporting(previous={**previous, "checkpoint": {"latest": {"step": 100}}}))
    assert decision.status is not None
    assert decision.status.history is not None
    first = decision.status.history[0]
    assert (first.run, first.from_step, first.to_step) == (1, 0, 100)


def test_a_long_evaluation_is_no_hang() -> None:
    job = a_job().with_spec(retryPolicy={"hangTimeoutSeconds": 30}).running(since=600)
    assert decided(job.reporting(stage="Evaluating"), later=10_000).notes == ()


def test_a_trainer_that_stands_still_is_ended() -> None:
    job = a_job().with_spec(retryPolicy={"hangTimeoutSeconds": 30}).running(since=600)
    assert decided(job.reporting(), later=59).notes == ()
    assert decided(job.reporting(), later=61).notes[0].reason == "Hang"
