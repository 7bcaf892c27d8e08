"""Events about jobs: one for each transition, and never two of a kind within a minute, whoever says them."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest

from finetune_operator import events, times
from finetune_operator.draft import Note
from finetune_operator.events import Announcer
from finetune_operator.kube.protocol import EVENT
from finetune_operator.observation import Observation
from tests.builders.observations import a_job
from tests.unit.operator.machine.api_server import ApiServer
from tests.unit.operator.machine.clock import Clock
from tests.unit.operator.machine.cluster import Cluster
from tests.unit.operator.machine.connection import Connection

PULLING = Note("Warning", "ImagePullBackOff", "no such image")
RUNNING = Note("Normal", "Running", "attempt 1 runs")


class Told:
    """An API server that is told of events, by one operator after the other."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.api = ApiServer(clock)
        self.restart()

    def restart(self) -> None:
        self._announcer = Announcer(Connection(self.api, Cluster(self.api)), "test", self.clock.now)

    async def say(self, note: Note, job: Observation) -> None:
        self._announcer.announce(job, note)
        await self._announcer.flush()

    def moments(self, note: Note) -> list[float]:
        """When events of this kind were raised, in seconds since the first."""
        raised = [event for event in self.api.all(EVENT) if event["reason"] == note.reason]
        found = [times.parse(event["eventTime"]) for event in raised]
        return sorted((at - min(filter(None, found))).total_seconds() for at in found if at)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    clock = Clock()
    monkeypatch.setattr(events, "time", SimpleNamespace(monotonic=clock.monotonic))
    return Told(clock)


def a_job_of(clock: Clock, uid: str = "u-1") -> Observation:
    return a_job().with_(uid=uid, created=clock.now() - timedelta(hours=1)).build()


def test_a_reason_that_comes_and_goes_is_said_once_a_minute(told: Told) -> None:
    job = a_job_of(told.clock)

    async def flapping() -> None:
        for _ in range(130):
            await told.say(PULLING, job)
            told.clock.seconds += 1

    asyncio.run(flapping())
    assert told.moments(PULLING) == [0, 60, 120]


@pytest.mark.parametrize("start", [1000, 1019, 1030])
def test_an_operator_that_was_restarted_does_not_repeat_what_was_just_said(told: Told, start: int) -> None:
    """Wherever the minute of the clock ends, and however often it is restarted."""
    told.clock.seconds = start
    job = a_job_of(told.clock)

    async def flapping() -> None:
        for _ in range(150):
            told.restart()
            await told.say(PULLING, job)
            told.clock.seconds += 1

    asyncio.run(flapping())
    moments = told.moments(PULLING)
    assert len(moments) == 3
    assert all(later - earlier >= 60 for earlier, later in pairwise(moments))


def test_what_is_said_of_one_kind_or_job_silences_no_other(told: Told) -> None:
    first, second = a_job_of(told.clock), a_job_of(told.clock, "u-2")

    async def scene() -> None:
        for job in (first, second):
            for note in (PULLING, RUNNING):
                await told.say(note, job)

    asyncio.run(scene())
    assert len(told.api.all(EVENT)) == 4
