"""Compares what two runs learnt, step by step, and keeps how far they were apart; runs nothing."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.jobs import Document, Jobs
from tests.e2e.results import losses, means

SAME_SPLIT = 1e-5
"""Runs that split their batches alike add in the same order, apart from the threads of a matrix product."""
OTHER_SPLIT = 1e-3
"""The same examples, added in another order at each step."""

DIFFERENCES: dict[str, float] = {}
"""Largest difference of a loss, by the name of the job that was disturbed; for the summary of a session."""


@dataclass(frozen=True)
class Undisturbed:
    """The results of a job to which nothing happened, for comparison."""

    curve: dict[int, float]
    metrics: dict[str, float]

    @classmethod
    def of(cls, job: Document, run: Path) -> Undisturbed:
        return cls(losses(run), job["status"]["metrics"])


Expected = Future[Undisturbed]


def assert_same_learning(job: Document, jobs: Jobs, undisturbed: Undisturbed, tolerance: float = SAME_SPLIT) -> None:
    """Both runs saw the same losses all the way, and measure the same at the end."""
    found = losses(jobs.run_directory(job))
    # A run that is stopped logs its last step as well.
    assert undisturbed.curve.keys() <= found.keys(), "the disturbed run has gaps in its metrics.jsonl"
    assert_same_curve(job, means(found, undisturbed.curve.keys()), undisturbed, tolerance)


def assert_same_curve(
    job: Document, found: dict[int, float], undisturbed: Undisturbed, tolerance: float = SAME_SPLIT
) -> None:
    """The losses at the steps of `found` are those of the undisturbed run, and so are the final metrics."""
    measured = job["status"]["metrics"]
    apart = [abs(loss - undisturbed.curve[step]) for step, loss in found.items()]
    apart += [abs(measured[name] - value) for name, value in undisturbed.metrics.items()]
    DIFFERENCES[job["metadata"]["name"]] = max(apart)
    assert found == pytest.approx({step: undisturbed.curve[step] for step in found}, abs=tolerance)
    assert measured == pytest.approx(undisturbed.metrics, abs=tolerance)
