"""Runs several tests at the same time, since a job that is disturbed waits as long as it computes; judges nothing.

A test marked with `side_by_side(lane)` takes `jobs` (of a namespace of its own) and `undisturbed` (a future), and is
a plain sequence of sentences. The first test of a session starts all of these that were selected: those of one lane
follow one another in the order of the files, the lanes go side by side. pytest then takes up one result after another.
Modules marked with `BESIDE` run meanwhile; all other tests have the cluster to themselves, after the lanes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pytest

from tests.e2e.jobs import Jobs
from tests.e2e.learning import Expected

CALM, CALM_TOO, TROUBLED, SILENT = "calm node", "calm node, too", "troubled node", "silent node"
"""The lanes, by the node that their jobs run on. What they take at the same time fits on two cores and on each node."""
BESIDE = [pytest.mark.beside, pytest.mark.usefixtures("begun")]
"""For `pytestmark` of tests that neither disturb others nor mind them, and that ask for next to no computing."""

Result = TypeVar("Result")
Test = Callable[[Jobs, Expected], None]


class Lanes:
    """The tests that were begun, by lane."""

    def __init__(self, new_jobs: Callable[[str], Jobs]) -> None:
        self._new_jobs = new_jobs
        self._lanes: dict[str, ThreadPoolExecutor] = {}
        self._begun: dict[Test, Future[None]] = {}

    def begin(self, test: Test, lane: str, undisturbed: Expected) -> None:
        """Run a test when those before it in its lane have ended."""
        self._begun[test] = self.submit(lane, lambda: self._run(test, undisturbed))

    def submit(self, lane: str, work: Callable[[], Result]) -> Future[Result]:
        """Do some work in a lane."""
        pool = self._lanes.setdefault(lane, ThreadPoolExecutor(1, thread_name_prefix=lane))
        return pool.submit(work)

    def end_of(self, test: Test) -> None:
        """Wait until a test has ended; raises what it raised."""
        self._begun[test].result()

    def close(self) -> None:
        """Begin nothing more. What still runs after an interruption fails with the cluster."""
        for pool in self._lanes.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, test: Test, undisturbed: Expected) -> None:
        jobs = self._new_jobs("test")
        test(jobs, undisturbed)
        jobs.cluster.kubectl("delete", "namespace", jobs.namespace, "--wait=false")  # a failed one's is looked at


def side_by_side(lane: str) -> Callable[[Test], Callable[[Lanes], None]]:
    """Mark a test of `jobs` and `undisturbed`; see the module."""

    def mark(test: Test) -> Callable[[Lanes], None]:
        @functools.wraps(test)
        def wait(begun: Lanes) -> None:
            begun.end_of(test)

        del wait.__wrapped__  # pytest reads the arguments of what it calls
        marked: Callable[[Lanes], None] = pytest.mark.side_by_side(test, lane)(wait)
        return marked

    return mark


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """What runs beside the lanes, then what runs in them, then what runs alone."""
    return sorted(items, key=_place)


def begin_selected(items: list[pytest.Item], lanes: Lanes, undisturbed: Expected) -> None:
    """Begin every marked test that pytest has selected, in its order."""
    for item in items:
        if mark := item.get_closest_marker("side_by_side"):
            lanes.begin(*mark.args, undisturbed)


def _place(item: pytest.Item) -> int:
    if item.get_closest_marker("side_by_side"):
        return 1
    return 0 if item.get_closest_marker("beside") else 2
