"""What the operator's watches tell is late or lost, at each point of a job's life: always the same end.

All jobs live side by side under one operator, each with its own fault; the names of the jobs say which.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from finetune_operator.names import ATTEMPT_LABEL, JOB_LABEL
from tests.builders.manifests import JobManifest, a_manifest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterError
from tests.cluster.pods import PodPlayer
from tests.integration.counting_proxy import CountingProxy
from tests.integration.jobs import FINISHED, Jobs
from tests.integration.operator_process import StartOperator
from tests.integration.watch_faults import WatchFaults

UNDISTURBED = "undisturbed"
EVENTS = 48
"""At least as many as the life below has: of the job itself, of three Jobs and of their pods."""
WRITES = 20
"""At least as many as the operator needs for it."""
STALL_SECONDS = 1.5


@pytest.fixture
def faults() -> WatchFaults:
    return WatchFaults()


@pytest.fixture
def kubeconfig(control_plane: ControlPlane, operator_account: Path, faults: WatchFaults) -> Iterator[Path]:
    """The operator's, by way of a proxy that plays the faults."""
    with CountingProxy(control_plane.url, control_plane.ca_file, faults).running() as proxy:
        yield proxy.kubeconfig(operator_account)


class Lives:
    """Jobs that crash once, are suspended and resumed once, and finish; every step for all of them at once."""

    def __init__(self, jobs: Jobs, pods: PodPlayer, names: list[str], when_stalled: Callable[[], None]) -> None:
        self._jobs, self._pods, self._names = jobs, pods, names
        self._when_stalled = when_stalled
        self.stalls = 0

    def run(self) -> None:
        self._pods.always(self._pods.run)
        self._apply(lambda manifest: manifest)
        self._until_all("Running", 1)
        for name, pod in self._pods_of(1).items():
            self._pods.fail(pod, 1, self._jobs.record(name, "InternalError"))
        self._until_all("Running", 2)
        self._apply(JobManifest.suspended)
        self._until_all("Suspended", 3)
        self._apply(lambda manifest: manifest.suspended(False))
        self._until_all("Running", 3)
        for name, pod in self._pods_of(3).items():
            self._pods.succeed(pod, self._jobs.record(name, "Finished", attempt=3, **FINISHED))
        self._until_all("Succeeded", 3)

    def _apply(self, change: Callable[[JobManifest], JobManifest]) -> None:
        for name in self._names:
            self._jobs.apply(change(a_manifest().named(name).retrying(backoffSeconds=0)))

    def _pods_of(self, attempt: int) -> dict[str, client.V1Pod]:
        here = [pod for pod in self._pods.wait(len(self._names)) if pod.metadata.labels[ATTEMPT_LABEL] == str(attempt)]
        return {pod.metadata.labels[JOB_LABEL]: pod for pod in here}

    def _until_all(self, phase: str, attempt: int) -> None:
        left, since = {""}, time.monotonic()
        deadline = since + 240
        while left:
            statuses = self._jobs.statuses()
            now = {
                name
                for name in self._names
                if (statuses[name].get("phase"), statuses[name].get("attempt")) != (phase, attempt)
            }
            if now != left:
                left, since = now, time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS:
                self.stalls += 1
                self._when_stalled()
                since = time.monotonic()
            if time.monotonic() > deadline:
                raise ClusterError(f"not {phase} in attempt {attempt}: { {name: statuses[name] for name in left} }")
            time.sleep(0.1)


def check_ends(jobs: Jobs, names: list[str], faults: WatchFaults, control_plane: ControlPlane) -> None:
    """Every job ended as the undisturbed one, with one Job an attempt."""
    made = Counter(
        event["objectRef"]["name"]
        for event in control_plane.audit_events(lambda event: _made_a_job(event, jobs.namespace))
    )
    statuses = jobs.statuses()
    for name in names:
        status, fault = statuses[name], f"{name}: {faults.struck(name)}"
        ends = [(entry["attempt"], entry["reason"]) for entry in status["history"]]
        assert ends == [(1, "Crash"), (2, "Suspended"), (3, "Finished")], fault
        counted = {"total": 1, "failures": 1, "outOfMemory": 0, "disruptions": 0, "hangs": 0}
        assert status["restarts"].items() >= counted.items(), fault
        assert [made[f"{name}-{attempt}"] for attempt in (1, 2, 3)] == [1, 1, 1], fault


def _made_a_job(event: dict[str, Any], namespace: str) -> bool:
    about = event.get("objectRef", {})
    made = event["verb"] == "create" and event["responseStatus"]["code"] == 201
    return made and (about.get("resource"), about.get("namespace")) == ("jobs", namespace)


def test_the_end_is_the_same_whichever_event_is_lost(
    faults: WatchFaults,
    kubeconfig: Path,
    start_operator: StartOperator,
    jobs: Jobs,
    pods: PodPlayer,
    control_plane: ControlPlane,
) -> None:
    """Nothing tells of it again until the watches end and everything is listed."""
    names = [UNDISTURBED, *(f"lost-{event}" for event in range(1, EVENTS + 1))]
    for event in range(1, EVENTS + 1):
        faults.lose(f"lost-{event}", event)
    start_operator(kubeconfig=kubeconfig)
    Lives(jobs, pods, names, faults.expire).run()
    check_ends(jobs, names, faults, control_plane)
    assert faults.events(UNDISTURBED) <= EVENTS
    assert all(faults.struck(f"lost-{event}") for event in range(1, faults.events(UNDISTURBED) - 5))


def test_the_end_is_the_same_when_nothing_is_heard_from_some_event_on(
    faults: WatchFaults,
    kubeconfig: Path,
    start_operator: StartOperator,
    jobs: Jobs,
    pods: PodPlayer,
    control_plane: ControlPlane,
) -> None:
    """What is listed now and then is enough."""
    points = range(0, EVENTS, 3)
    names = [UNDISTURBED, *(f"deaf-{event}" for event in points)]
    for event in points:
        faults.lose_all(f"deaf-{event}", after=event)
    start_operator({"FINETUNE_RESYNC_SECONDS": "1"}, kubeconfig=kubeconfig)
    Lives(jobs, pods, names, lambda: None).run()
    check_ends(jobs, names, faults, control_plane)


def test_the_end_is_the_same_when_the_caches_are_behind_after_some_write(
    faults: WatchFaults,
    kubeconfig: Path,
    start_operator: StartOperator,
    jobs: Jobs,
    pods: PodPlayer,
    control_plane: ControlPlane,
) -> None:
    """What happened meanwhile is told later, all of it and in order."""
    names = [UNDISTURBED, *(f"stale-{write}" for write in range(1, WRITES + 1))]
    for write in range(1, WRITES + 1):
        faults.hold(f"stale-{write}", write, seconds=1.0)
    start_operator(kubeconfig=kubeconfig)
    Lives(jobs, pods, names, lambda: None).run()
    check_ends(jobs, names, faults, control_plane)
    writes = faults.writes(UNDISTURBED)
    assert len(writes) <= WRITES, "\n".join(writes)
    assert all(faults.struck(f"stale-{write}") for write in range(1, len(writes) - 1))
