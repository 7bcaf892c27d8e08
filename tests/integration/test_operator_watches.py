"""What the operator reads is late, old or lost, at each point of whole lives: always the same end.

All jobs live side by side under one operator, each with its own fault; the names of the jobs say which.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from kubernetes import client

from tests.cluster.control_plane import ControlPlane
from tests.cluster.pods import PodPlayer
from tests.integration.counting_proxy import CountingProxy
from tests.integration.jobs import Jobs
from tests.integration.lives import APPLIED_AGAIN, CANCELLED, EVERYTHING, STORIES, Life, Story, jobs_made
from tests.integration.operator_process import StartOperator
from tests.integration.view import View
from tests.integration.watch_faults import WatchFaults

UNDISTURBED = "undisturbed"
EVENTS = {EVERYTHING: 64, CANCELLED: 24, APPLIED_AGAIN: 40}
"""At least as many as each life has: of the job itself, of its Jobs and of their pods."""
WRITES = {EVERYTHING: 24, CANCELLED: 8, APPLIED_AGAIN: 16}
"""At least as many as the operator needs for it, events left out."""
STALL_SECONDS = 1.5


@pytest.fixture
def faults() -> WatchFaults:
    return WatchFaults()


@pytest.fixture
def kubeconfig(control_plane: ControlPlane, operator_account: Path, faults: WatchFaults) -> Iterator[Path]:
    """The operator's, by way of a proxy that plays the faults."""
    with CountingProxy(control_plane.url, control_plane.ca_file, faults).running() as proxy:
        yield proxy.kubeconfig(operator_account)


class Sweep:
    """Lives by their names, all lived at once and compared in the end."""

    def __init__(
        self, api: client.ApiClient, jobs: Jobs, pods: PodPlayer, faults: WatchFaults, control_plane: ControlPlane
    ) -> None:
        self._jobs, self._pods, self._faults, self._control_plane = jobs, pods, faults, control_plane
        self._view = View(api)
        self._lives: dict[str, tuple[Story, Life]] = {}
        for story in STORIES:
            self.add(story, UNDISTURBED)

    def add(self, story: Story, fault: str) -> str:
        """A life more; returns its name."""
        name = f"{story.name}-{fault}"
        self._lives[name] = (story, Life(name, self._jobs, self._pods, self._view))
        return name

    def run(self, when_stalled: Callable[[], None] = lambda: None) -> None:
        """Lives all of them, and checks how they ended; `when_stalled` is called whenever all wait in vain."""
        with ThreadPoolExecutor(len(self._lives)) as pool:
            living = [pool.submit(story.live, life) for story, life in self._lives.values()]
            self._watch_over(living, when_stalled)
        for one in living:
            one.result()
        made = jobs_made(self._control_plane)[self._jobs.namespace]
        for name, (story, life) in self._lives.items():
            print(name, self._faults.struck(name))
            story.check(life, made, self._faults.struck(name))

    def _watch_over(self, living: list[Future[None]], when_stalled: Callable[[], None]) -> None:
        before, since = "", time.monotonic()
        while not all(one.done() for one in living):
            now = str(sorted((key, job["metadata"]["resourceVersion"]) for key, job in self._view.jobs().items()))
            if now != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS:
                when_stalled()
                since = time.monotonic()
            time.sleep(0.2)


@pytest.fixture
def sweep(
    api: client.ApiClient, jobs: Jobs, pods: PodPlayer, faults: WatchFaults, control_plane: ControlPlane
) -> Sweep:
    return Sweep(api, jobs, pods, faults, control_plane)


def test_the_end_is_the_same_whichever_event_is_lost(
    sweep: Sweep, faults: WatchFaults, kubeconfig: Path, start_operator: StartOperator
) -> None:
    """Nothing tells of it again until the watches end and everything is listed."""
    points = [(story, event) for story, events in EVENTS.items() for event in range(1, events + 1)]
    for story, event in points:
        faults.lose(sweep.add(story, f"lost-{event}"), event)
    start_operator(kubeconfig=kubeconfig)
    sweep.run(faults.expire)
    for story in STORIES:
        events = faults.events(f"{story.name}-{UNDISTURBED}")
        assert events <= EVENTS[story]
        assert all(faults.struck(f"{story.name}-lost-{event}") for event in range(1, events - 5))


def test_the_end_is_the_same_when_nothing_is_heard_from_some_event_on(
    sweep: Sweep, faults: WatchFaults, kubeconfig: Path, start_operator: StartOperator
) -> None:
    """What is listed now and then is enough."""
    for story, events in EVENTS.items():
        for event in range(0, events, 4):
            faults.lose_all(sweep.add(story, f"deaf-{event}"), after=event)
    start_operator({"FINETUNE_RESYNC_SECONDS": "1"}, kubeconfig=kubeconfig)
    sweep.run()


@pytest.mark.parametrize("play", [WatchFaults.hold, WatchFaults.list_old])
def test_the_end_is_the_same_when_what_is_read_is_older_than_some_write(
    play: Callable[..., None], sweep: Sweep, faults: WatchFaults, kubeconfig: Path, start_operator: StartOperator
) -> None:
    """What happened meanwhile is told later, all of it and in order."""
    for story, writes in WRITES.items():
        for write in range(1, writes + 1):
            play(faults, sweep.add(story, f"stale-{write}"), write, seconds=1.0)
    start_operator(kubeconfig=kubeconfig)
    sweep.run()
    for story in STORIES:
        writes = faults.writes(f"{story.name}-{UNDISTURBED}")
        assert len(writes) <= WRITES[story], "\n".join(writes)
        for write in range(1, len(writes) - 1):
            struck = faults.struck(f"{story.name}-stale-{write}")
            assert struck
            assert play is not WatchFaults.list_old or any("as of" in one for one in struck), (write, struck)
