"""Strikes the whole cluster several times in a row, while the jobs that are struck train side by side; judges nothing.

A test marked with `in_turns(name)` takes the `Outage` of a job of that name, which has come to the middle of its
training, and is a generator. What stands before its `yield` it does alone: nobody else asks the API server for
anything. Then the next test strikes, while this one's job trains on. What stands behind it comes when all have struck.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.waiting import until
from tests.e2e.jobs import Jobs
from tests.e2e.learning import Expected, assert_same_learning
from tests.e2e.manifests import a_job
from tests.e2e.nodes import expect_trouble_on, troubled_node


@dataclass(frozen=True)
class Outage:
    """What a test strikes: the cluster that a job trains in."""

    cluster: Cluster
    jobs: Jobs
    name: str
    undisturbed: Expected

    @contextmanager
    def leaves_the_pod_alone(self) -> Iterator[None]:
        """Something happens in the block; afterwards the job's one pod still runs, as if it had not."""
        (before,) = self.jobs.pods(self.name)
        yield
        (after,) = self.jobs.pods(self.name)
        assert after.status.phase == "Running", "the job had finished: it happened too late to tell"
        assert after.metadata.uid == before.metadata.uid

    def left_the_job_alone(self) -> None:
        """One attempt in one pod did it all."""
        job = self.jobs.finished(self.name)
        assert len(self.jobs.pods(self.name)) == 1
        assert job["status"]["attempt"] == 1
        assert job["status"]["restarts"]["total"] == 0
        assert_same_learning(job, self.jobs, self.undisturbed.result())


Test = Callable[[Outage], Iterator[None]]


class Turn:
    """One test, stage by stage. What a stage raises is kept for pytest, and the stages behind it are left out."""

    def __init__(self, test: Test, name: str, cpu: str) -> None:
        self._test, self._name, self._cpu = test, name, cpu
        self._raised: BaseException | None = None

    def begin(self, jobs: Jobs, undisturbed: Expected) -> None:
        """Apply the job, and see its pod run."""
        self._outage = Outage(jobs.cluster, jobs, self._name, undisturbed)
        self._run = self._test(self._outage)
        tolerations = expect_trouble_on(troubled_node(jobs.cluster))
        manifest = a_job(self._name).computing(cpu=self._cpu).with_pods(tolerations=tolerations)

        def apply() -> None:
            jobs.apply(manifest)
            until(lambda: _phases(jobs, self._name) == ["Running"], f"the pod of {self._name}", timeout=300)

        self._stage(apply)

    def come_to_the_middle(self) -> None:
        """Wait for the job's first checkpoint."""
        self._stage(lambda: self._outage.jobs.in_the_middle(self._name))

    def strike(self) -> None:
        """Run the test to its `yield`."""
        self._stage(lambda: next(self._run))

    def end(self) -> None:
        """Run the rest of the test; the namespace of one that failed stays, to be looked at."""
        jobs = self._outage.jobs

        def finish() -> None:
            assert next(self._run, self) is self, "such a test has one `yield`"
            jobs.kubectl("delete", "namespace", jobs.namespace, "--wait=false")

        self._stage(finish)

    def tell(self) -> None:
        """Raise what the test has raised."""
        if self._raised is not None:
            raise self._raised

    def _stage(self, work: Callable[[], object]) -> None:
        if self._raised is None:
            try:
                work()
            except (Exception, pytest.skip.Exception, pytest.fail.Exception) as error:
                self._raised = error


Turns = dict[Test, Turn]


def in_turns(name: str, *, cpu: str = "500m") -> Callable[[Test], Callable[[Turns], None]]:
    """Mark a test of an `Outage` with the name of its job; see the module.

    `cpu`: what the job has; the less, the longer it trains, which has to be longer than the outage.
    """

    def mark(test: Test) -> Callable[[Turns], None]:
        @functools.wraps(test)
        def wait(played: Turns) -> None:
            played[test].tell()

        del wait.__wrapped__  # pytest reads the arguments of what it calls
        marked: Callable[[Turns], None] = pytest.mark.in_turns(test, name, cpu)(wait)
        return marked

    return mark


def play_selected(items: list[pytest.Item], new_jobs: Callable[[str], Jobs], undisturbed: Expected) -> Turns:
    """Play every marked test that pytest has selected, in its order.

    A job begins when the one before has come to its middle: it starts while that one is struck.
    """
    marks = [mark.args for item in items if (mark := item.get_closest_marker("in_turns"))]
    turns = [Turn(*mark) for mark in marks]
    for turn, following in zip(turns, [*turns[1:], None], strict=True):
        if turn is turns[0]:
            turn.begin(new_jobs("test"), undisturbed)
        turn.come_to_the_middle()
        if following:
            following.begin(new_jobs("test"), undisturbed)
        turn.strike()
    for turn in turns:
        turn.end()
    return {test: turn for (test, *_), turn in zip(marks, turns, strict=True)}


def _phases(jobs: Jobs, name: str) -> list[str]:
    return [pod.status.phase for pod in jobs.pods(name)]
