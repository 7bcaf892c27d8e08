"""The work queue: no key twice, no key at two workers, and failures that back off."""

import asyncio

import pytest

from finetune_operator.queue import LONGEST_BACKOFF, WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue[str]:
    return WorkQueue(clock)


async def test_a_key_that_is_added_twice_is_given_out_once(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_that_is_worked_on_waits_for_its_worker(queue: WorkQueue[str]) -> None:
    queue.add("a")
    await queue.get()
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"


async def test_a_worker_is_woken_by_a_new_key(queue: WorkQueue[str]) -> None:
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await waiting == "a"


async def test_a_delayed_key_comes_when_it_is_due(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("late", 10)
    queue.add("now")
    assert await queue.get() == "now"
    clock.now += 10
    assert await queue.get() == "late"


async def test_of_two_times_the_earlier_counts(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("a", 10)
    queue.add_after("a", 5)
    queue.add_after("a", 20)
    clock.now += 5
    assert await queue.get() == "a"
    queue.done("a")
    clock.now += 100
    queue.add("b")
    assert await queue.get() == "b"
    assert len(queue) == 0


async def test_a_key_asked_for_soon_comes_in_time(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_soon("a", 0.2)
    queue.add_after("a", 10)
    clock.now += 0.2
    assert await queue.get() == "a"
    queue.done("a")
    clock.now += 10
    assert await queue.get() == "a"


async def test_a_key_asked_for_soon_is_served_by_any_work_that_begins_before(
    queue: WorkQueue[str], clock: Clock
) -> None:
    queue.add_soon("a", 0.2)
    queue.add("a")
    queue.add_soon("a", 0.2)
    assert await queue.get() == "a"
    queue.done("a")
    queue.add_after("b", 0.2)
    clock.now += 0.2
    assert await queue.get() == "b"
    assert len(queue) == 0


async def test_a_key_asked_for_soon_while_it_is_worked_on_comes_again(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("a")
    await queue.get()
    queue.add_soon("a", 0.2)
    clock.now += 0.2
    queue.add("b")
    assert await queue.get() == "b"
    queue.done("a")
    assert await queue.get() == "a"


def test_failures_back_off_and_a_success_ends_the_row(queue: WorkQueue[str]) -> None:
    delays = [queue.failed("a") for _ in range(20)]
    assert delays == sorted(delays)
    assert delays[0] < 0.1
    assert delays[-1] == LONGEST_BACKOFF
    queue.succeeded("a")
    assert queue.failed("a") == delays[0]


def test_a_server_that_asks_for_patience_gets_it(queue: WorkQueue[str]) -> None:
    assert queue.failed("a", at_least=7) == 7


async def test_a_forgotten_key_does_not_come_back(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("a", 1)
    queue.forget("a")
    clock.now += 5
    queue.add("b")
    assert await queue.get() == "b"
    assert len(queue) == 0


async def test_the_oldest_unfinished_work_is_known(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("a")
    await queue.get()
    clock.now += 42
    assert queue.longest_work() == 42
    queue.done("a")
    assert queue.longest_work() == 0


async def test_it_is_idle_once_nothing_waits_and_nothing_is_worked_on(queue: WorkQueue[str]) -> None:
    await queue.idle()
    queue.add("a")
    queue.add("b")
    rest = asyncio.create_task(queue.idle())
    for _ in range(2):
        key = await queue.get()
        await asyncio.sleep(0)
        assert not rest.done()
        queue.done(key)
    await rest


async def test_of_many_waiting_workers_one_is_woken_for_a_key(
    queue: WorkQueue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    look = queue._release_due
    monkeypatch.setattr(queue, "_release_due", lambda: (looks.append(1), look()))
    workers = [asyncio.create_task(queue.get()) for _ in range(9)]
    await asyncio.sleep(0)
    assert len(looks) == 9
    queue.add("a")
    queue.add("b")
    assert await asyncio.gather(*workers[:2]) == ["a", "b"]
    assert len(looks) == 11, "the others slept on"
    for worker in workers:
        worker.cancel()


async def test_a_worker_that_goes_as_it_is_woken_leaves_the_key_to_another(queue: WorkQueue[str]) -> None:
    going, staying = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    queue.add("a")
    going.cancel()
    assert await staying == "a"


async def test_a_waiting_worker_gets_what_becomes_due() -> None:
    queue: WorkQueue[str] = WorkQueue()
    waiting = [asyncio.create_task(queue.get()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.add_after("later", 0.02)
    queue.add_after("sooner", 0.01)
    assert await asyncio.gather(*waiting) == ["sooner", "later"]


async def test_what_is_planned_while_a_woken_worker_goes_away_empty_comes_too() -> None:
    queue: WorkQueue[str] = WorkQueue()
    slow = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await queue.get() == "a"  # before the worker that was woken for it
    queue.add_after("b", 0.01)
    assert await slow == "b"
