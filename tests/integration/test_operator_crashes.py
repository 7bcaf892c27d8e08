"""The operator is killed after each single write of a job's life and started again: always the same end."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.builders.manifests import a_manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterError
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until
from tests.integration.counting_proxy import CountingProxy
from tests.integration.jobs import FINISHED, Jobs
from tests.integration.operator_process import OperatorProcess, StartOperator

JOB = "python-coder"
WRITES = 14
"""Of the life below: a policy, two Jobs (and the policy again), six statuses and four events."""


@pytest.fixture
def proxy(control_plane: ControlPlane) -> Iterator[CountingProxy]:
    with CountingProxy(control_plane.url, control_plane.ca_file).running() as made:
        yield made


class Life:
    """A job that crashes once and then finishes, under an operator that is started again whenever it is dead."""

    def __init__(self, jobs: Jobs, pods: PodPlayer, operator: OperatorProcess) -> None:
        self._jobs, self._pods, self._operator = jobs, pods, operator
        self.starts = 1

    def run(self) -> dict[str, Any]:
        """Lives to the end; returns the last status."""
        self._jobs.apply(a_manifest().retrying(backoffSeconds=0))
        self._pods.fail(self._run(1), 1, self._jobs.record(JOB, "InternalError", checkpoint={"latest": {"step": 100}}))
        self._pods.succeed(self._run(2), self._jobs.record(JOB, "Finished", attempt=2, **FINISHED))
        self._wait("Succeeded")
        self._until(lambda: "Succeeded" in self._jobs.events(JOB) or self.starts > 1, "the last event")
        return self._jobs.status(JOB)

    def _run(self, attempt: int) -> client.V1Pod:
        def there() -> list[client.V1Pod]:
            with suppress(ClusterError):
                return self._pods.wait(job=f"{JOB}-{attempt}", timeout=0.05)
            return []

        (pod,) = self._until(there, f"the pod of attempt {attempt}")
        # Before the pod runs, so that the write that says so is always one of those that are swept.
        self._until(lambda: self._jobs.status(JOB).get("attempt") == attempt, f"attempt {attempt}")
        self._pods.run(pod)
        self._wait("Running")
        return pod

    def _wait(self, phase: str) -> None:
        self._until(lambda: self._jobs.status(JOB).get("phase") == phase, f"the job to be {phase}")

    def _until(self, condition: Callable[[], Any], what: str) -> Any:
        def revived() -> Any:
            if not self._operator.alive:
                self.starts += 1
                self._operator.start()
            return condition()

        return until(revived, what, timeout=60)


def check_end(status: dict[str, Any], jobs: Jobs, control_plane: ControlPlane) -> None:
    """What must hold however often the operator died."""
    assert [entry["reason"] for entry in status["history"]] == ["Crash", "Finished"]
    assert status["restarts"] == {"total": 1, "failures": 1, "outOfMemory": 0, "disruptions": 0, "hangs": 0}
    assert status["attempt"] == 2
    assert status["output"]["path"] == f"{JOB}/{FINISHED['output']['path']}"
    assert status["checkpoint"]["latest"]["step"] == 400
    assert jobs.children() == [f"{JOB}-1", f"{JOB}-2"]
    made = control_plane.audit_events(
        lambda event: (
            event["verb"] == "create"
            and event["objectRef"].get("resource") == "jobs"
            and event["objectRef"].get("namespace") == jobs.namespace
            and event["responseStatus"]["code"] == 201
        )
    )
    assert len(made) == 2


def test_a_life_without_a_crash_has_the_writes_that_are_swept(
    proxy: CountingProxy,
    start_operator: StartOperator,
    operator_account: Path,
    jobs: Jobs,
    pods: PodPlayer,
    control_plane: ControlPlane,
) -> None:
    operator = start_operator(kubeconfig=proxy.kubeconfig(operator_account))
    status = Life(jobs, pods, operator).run()
    check_end(status, jobs, control_plane)
    assert len(proxy.writes) == WRITES, "\n".join(proxy.writes)


@pytest.mark.parametrize("write", range(1, WRITES + 1))
def test_the_end_is_the_same_after_a_kill(
    write: int,
    proxy: CountingProxy,
    start_operator: StartOperator,
    operator_account: Path,
    jobs: Jobs,
    pods: PodPlayer,
    control_plane: ControlPlane,
) -> None:
    operator = start_operator(kubeconfig=proxy.kubeconfig(operator_account))
    proxy.strike(write, lambda: os.kill(operator.pid, signal.SIGKILL))
    life = Life(jobs, pods, operator)
    status = life.run()
    killed_after = f"killed after write {write}: {proxy.writes[write - 1]}"
    check_end(status, jobs, control_plane)
    assert life.starts == 2 or write == WRITES, killed_after
