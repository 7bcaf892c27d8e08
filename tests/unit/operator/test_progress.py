"""The reader of progress: what counts as a report, and for how long."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from finetune_operator import progress
from finetune_operator.errors import NoProgressError
from finetune_operator.kube.protocol import Kube
from finetune_operator.progress import ProgressReader
from tests.builders.observations import UID, a_job, a_pod

KEY = ("team", "python-coder")
REPORT = {"uid": UID, "attempt": 1, "run": 1, "stage": "Training", "updatedAt": "2026-01-02T03:04:05Z"}


class Trainers:
    """The one call of Kube that the reader makes; None is a trainer that does not answer."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] | None = REPORT

    async def progress(self, namespace: str, pod: str, address: str | None) -> bytes:
        if self.answer is None:
            raise NoProgressError("no answer")
        return json.dumps(self.answer).encode()


async def becomes(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # a report that is dropped tells nobody
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {**REPORT, "uid": "another"},
        {**REPORT, "attempt": 2},
        *({**REPORT, "updatedAt": said} for said in ("just now", "2026-01-02T03:04:05", "")),
    ],
)
async def test_a_report_counts_only_while_its_trainer_answers(
    answer: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_SECONDS", "EARLY_SECONDS"):
        monkeypatch.setattr(progress, name, 0.01)
    trainers = Trainers()
    reader = ProgressReader(cast(Kube, trainers), lambda key: None, per_second=1000)
    reader.follow(KEY, a_job().running().build(), a_pod(phase="Running"))
    asking = asyncio.create_task(reader.run())
    try:
        await becomes(lambda: reader.report(KEY, UID) is not None)
        trainers.answer = answer
        await becomes(lambda: reader.report(KEY, UID) is None)
        trainers.answer = REPORT
        await becomes(lambda: reader.report(KEY, UID) is not None)
    finally:
        asking.cancel()


async def test_a_trainer_that_is_followed_again_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.0)
    asked: list[str] = []

    class Busy(Trainers):
        async def progress(self, namespace: str, pod: str, address: str | None) -> bytes:
            asked.append(pod)
            await asyncio.Event().wait()
            raise AssertionError

    reader = ProgressReader(cast(Kube, Busy()), lambda key: None, per_second=1000)
    pod = a_pod(phase="Running")
    for followed in (pod, None, pod):
        reader.follow(KEY, a_job().running().build(), followed)
    asking = asyncio.create_task(reader.run())
    try:
        await becomes(lambda: bool(asked))
        await asyncio.sleep(0)
        assert asked == [pod.name]
    finally:
        asking.cancel()
