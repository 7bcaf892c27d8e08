"""A volume of results that does not answer, as one of a dead file server: a pipe that nobody writes to is as silent."""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from finetune_api.trainer_contract import AttemptRecord, EndKind, ExitCode
from finetune_trainer import supervisor, volume
from finetune_trainer.termination import Termination
from finetune_trainer.volume import Beat, NoAnswer, Volume

from .attempts import PATIENCE_SECONDS, AJob, free_port
from .forked_pods import FOR_EVER


class Supervised(threading.Thread):
    """Process 1 as far as the volume lets it come, in a thread of this process."""

    def __init__(self, job: AJob, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(daemon=True)
        self.port = free_port()
        config = job.with_config(progressPort=self.port, progressHost="127.0.0.1").config
        self._message = job.volume / "message"
        monkeypatch.setenv("FINETUNE_CONFIG", config.encode())
        monkeypatch.setenv("FINETUNE_TERMINATION_MESSAGE", str(self._message))
        self.limit = FOR_EVER
        self.start()

    def run(self) -> None:
        self.code = supervisor.main(lambda: self.limit)

    def wait_in(self, function: str) -> None:
        """Wait until some thread stands in a function of this name."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(function in _callers(frame) for frame in sys._current_frames().values()):
            assert time.monotonic() < deadline, f"nobody came to {function}"
            time.sleep(0.005)

    def end(self) -> tuple[ExitCode, AttemptRecord]:
        self.join(PATIENCE_SECONDS)
        return ExitCode(self.code), AttemptRecord.load(self._message.read_bytes())

    def report(self) -> dict[str, Any]:
        """The first that is served."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/progress", timeout=5) as answer:
                    report: dict[str, Any] = json.load(answer)
                    return report
            except OSError:
                time.sleep(0.01)
        raise AssertionError("no report was served")


def _callers(frame: FrameType | None) -> Iterator[str]:
    """The names of the functions that a thread is in."""
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back


@pytest.fixture
def silent() -> Iterator[Callable[[Path], None]]:
    """Makes a file that cannot be opened; what waits for it is let go in the end."""
    made: list[Path] = []

    def make(path: Path) -> None:
        path.parent.mkdir(parents=True)
        os.mkfifo(path)
        made.append(path)

    yield make
    for path in made:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))


@pytest.mark.parametrize(
    ("file", "asked_in"), [("output/report.json", "complete_report"), ("runs/1", "read_claim")], ids=["result", "claim"]
)
def test_a_volume_that_never_answers_is_a_hang_that_is_shown_and_named(
    file: str, asked_in: str, tmp_path: Path, silent: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume, "SECONDS_UNTIL_A_WARNING", 0.0)
    monkeypatch.setattr(volume, "_TICK", 0.01)
    job = AJob.on(tmp_path, tmp_path)
    silent(job.results.root / file)
    supervised = Supervised(job, monkeypatch)
    report = supervised.report()
    assert (report["uid"], report["attempt"], report["stage"]) == ("uid-1", 1, "Starting")
    (warning,) = report["warnings"]
    assert f"The volume of the results ({job.results.root}) has not answered" in warning
    supervised.wait_in(asked_in)
    supervised.limit = 0.0
    code, record = supervised.end()
    assert (code, record.kind, record.uid, record.attempt) == (ExitCode.HANG, EndKind.HANG, "uid-1", 1)
    assert str(job.results.root) in record.message
    assert f"in {asked_in}" in record.message
    assert "hangTimeoutSeconds" in record.advice


def test_sigterm_is_obeyed_while_the_volume_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume, "SECONDS_AFTER_SIGTERM", 0.0)
    termination = Termination()
    termination.requested = True
    with pytest.raises(NoAnswer, match="SIGTERM while the volume of the results") as raised:
        Volume(Path("results"), termination, _no_warning).ask(lambda _: threading.Event().wait(), lambda: FOR_EVER)
    assert raised.value.kind is EndKind.INTERRUPTED


def test_a_volume_that_is_slow_is_waited_for_as_long_as_it_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds pass between two looks, of which five count: a process that stood still itself blames nobody."""
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr(volume, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(volume, "_TICK", 0.001)
    monkeypatch.setattr(volume, "SECONDS_UNTIL_A_WARNING", FOR_EVER)
    looked, beaten, left = threading.Semaphore(0), threading.Semaphore(0), iter(range(10))

    def work(beat: Beat) -> str:
        for _ in range(10):
            looked.acquire()
            beat()
            beaten.release()
        return "there"

    def limit() -> float:
        if next(left, None) is None:
            return FOR_EVER  # the last word is on its way
        looked.release()
        beaten.acquire()
        return 5.0

    asked = Volume(Path("results"), Termination(), _no_warning)
    assert asked.ask(work, limit) == "there"
    with pytest.raises(NoAnswer):
        asked.ask(lambda _: threading.Event().wait(), lambda: 5.0)


def _no_warning(warning: str) -> None:
    raise AssertionError(warning)
