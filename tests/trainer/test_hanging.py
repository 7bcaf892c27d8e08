"""Real ranks that hang are found, named and ended; real ranks that are only slow are left alone."""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finetune_api.trainer_contract import EndKind, ExitCode

from .attempts import AJob
from .pods import pods

pytestmark = pytest.mark.usefixtures("loaded_libraries")

LIMIT = 4.0
"""Seconds without a sign of life that count as a hang here."""
LONG = 1.6 * LIMIT
"""Seconds that a slow thing takes: well above the limit."""


def an_endless_gang(volume: Path, models: Path) -> AJob:
    return AJob.on(volume, models).with_spec(
        hyperparameters={"epochs": None, "maxSteps": 1_000_000, "perDeviceBatchSize": 2},
        checkpoint={"everySteps": 1_000_000, "gracePeriodSeconds": 86400},
        evaluation={"everySteps": 1_000_000},
    )


def test_a_rank_that_is_stopped_is_named_and_the_stacks_of_the_others_are_given(tmp_path: Path, models: Path) -> None:
    with pods(an_endless_gang(tmp_path, models), ranks=2, hang_seconds=LIMIT) as gang:
        gang.until_step(2)
        gang.look_for_hangs()
        stopped = gang[0].ranks[1]
        stopped.suspend()
        (record,) = gang.wait()
        assert (gang[0].code, record.kind, record.rank) == (ExitCode.HANG, EndKind.HANG, 1), gang.logs
        assert not stopped.is_running(), "a stopped process can be killed"
    assert "it is stopped (SIGSTOP)" in record.message
    assert "Training, step" in record.message
    assert "rank 0 waits for it" in record.message
    assert "Stacks of rank 1:\n(none: it does not answer)" in gang.logs
    assert "recipes/sft.py" in gang.logs, "where rank 0 waits"


def stay_away_from_the_third_batch(rank: int) -> None:
    """Rank 1 never enters the collective operations of its third batch, in the second optimizer step."""
    if rank != 1:
        return
    from finetune_trainer.trainer import RecipeTrainer

    step, done = RecipeTrainer.training_step, [0]

    def missing(self: RecipeTrainer, *arguments: Any, **named: Any) -> Any:
        done[0] += 1
        if done[0] == 3:
            (Path(os.environ["FINETUNE_SCRATCH"]) / "missing").touch()
            wait_for_something_that_never_comes()
        return step(self, *arguments, **named)

    RecipeTrainer.training_step = missing  # type: ignore[method-assign]  # in this process only


def wait_for_something_that_never_comes() -> None:
    threading.Event().wait()


@pytest.mark.parametrize("nodes", [1, 2], ids=["in one pod", "in two pods"])
def test_the_rank_that_stays_away_from_a_collective_is_named_and_not_who_waits(
    nodes: int, tmp_path: Path, models: Path
) -> None:
    job = an_endless_gang(tmp_path, models)
    with pods(job, nodes=nodes, ranks=2 // nodes, hang_seconds=LIMIT, before=stay_away_from_the_third_batch) as gang:
        gang.until(lambda: list(gang[-1].scratch.glob("finetune-*/missing")), "the third batch of rank 1")
        gang.look_for_hangs()
        records = gang.wait()
    assert {pod.code for pod in gang} == {ExitCode.HANG}, gang.logs
    for record in records:
        assert (record.kind, record.rank, record.node) == (EndKind.HANG, 1, nodes - 1)
        assert "wait_for_something_that_never_comes" in record.message
        assert "rank 0 waits for it" in record.message
        assert "hangTimeoutSeconds" in record.advice
    assert [record.collateral for record in records] == [pod.node != nodes - 1 for pod in gang]
    assert "Stacks of rank 0" in gang.logs
    assert "Stacks of rank 1" in gang.logs


def test_a_pod_that_is_frozen_as_a_whole_is_found_by_the_other(tmp_path: Path, models: Path) -> None:
    with pods(an_endless_gang(tmp_path, models), nodes=2, hang_seconds=LIMIT) as gang:
        gang.until_step(2)
        gang.look_for_hangs()
        for frozen in (*gang[1].ranks, gang[1].process):
            frozen.suspend()
        gang.until(lambda: gang[0].ended, "the end of pod 0")
        record = gang[0].record
    assert (record.kind, record.node, record.collateral) == (EndKind.HANG, 1, True), gang.logs
    assert "Node 1 does not answer" in record.message


def test_a_data_source_that_blocks_is_a_hang_that_says_what_is_read(tmp_path: Path, models: Path) -> None:
    job = an_endless_gang(tmp_path, models).with_spec(dataset={"sources": [{"claim": {"name": "data", "path": "."}}]})
    os.mkfifo(tmp_path / "data" / "z.jsonl")
    with pods(job, nodes=2, hang_seconds=LIMIT) as gang:
        gang.until_stage("LoadingData")
        gang.look_for_hangs()
        records = gang.wait()
    for record in records:
        assert (record.kind, record.step) == (EndKind.HANG, 0), gang.logs
        assert "(LoadingData)" in record.message
        assert "file_identity" in record.message, "it stands where the file is read"


class _Silent(http.server.BaseHTTPRequestHandler):
    """Takes a request and never answers."""

    def do_GET(self) -> None:
        threading.Event().wait()

    do_HEAD = do_GET  # noqa: N815  # the name that http.server calls

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def a_server_that_never_answers() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Silent)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_hub_that_never_answers_is_a_hang_that_says_so(tmp_path: Path, models: Path) -> None:
    job = an_endless_gang(tmp_path, models).with_spec(dataset={"sources": [{"hub": {"id": "org/chats"}}]})
    with a_server_that_never_answers() as address:

        def ask_there(_: int) -> None:
            import huggingface_hub.constants as constants

            constants.HF_HUB_OFFLINE = False
            constants.ENDPOINT = address
            # Its own patience is put out of the way: what is tried is ours.
            constants.HF_HUB_ETAG_TIMEOUT = constants.HF_HUB_DOWNLOAD_TIMEOUT = constants.DEFAULT_REQUEST_TIMEOUT = 9999
            os.environ["HF_ENDPOINT"] = address
            from huggingface_hub import HfApi

            asked = HfApi.dataset_info

            def patient(self: HfApi, *arguments: Any, **named: Any) -> Any:
                self.endpoint = address
                return asked(self, *arguments, **{**named, "timeout": 9999})

            HfApi.dataset_info = patient  # type: ignore[method-assign]  # in this process only

        with pods(job, hang_seconds=LIMIT, before=ask_there) as gang:
            gang.until_stage("LoadingData")
            gang.look_for_hangs()
            (record,) = gang.wait()
    assert (record.kind, record.rank) == (EndKind.HANG, 0), gang.logs
    assert "(LoadingData)" in record.message


def be_slow_everywhere(rank: int) -> None:
    """Every long phase takes longer than the limit; where one rank works, the other one waits."""
    from finetune_trainer import evaluation
    from finetune_trainer.data.tokenise import Tokenising
    from finetune_trainer.models import loading

    delay(loading, "load_model", read_slowly)
    delay(Tokenising, "write", compute, only_at=(rank == 0))
    delay(evaluation, "_batch_loss", lambda: time.sleep(LIMIT / 4))
    if rank == 0:
        bring_slowly("optimizer.pt")
        delay_output()


def delay(place: Any, name: str, slowly: Callable[[], None], *, only_at: bool = True) -> None:
    """Puts something slow before a function."""
    function = getattr(place, name)

    def slow(*arguments: Any, **named: Any) -> Any:
        slowly()
        return function(*arguments, **named)

    if only_at:
        setattr(place, name, slow)


def compute() -> None:
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        json.dumps(list(range(1000)))


def read_slowly() -> None:
    """As from a mount far away: no more than 200 KB a second."""
    with open("/dev/zero", "rb") as source:
        until = time.monotonic() + LONG
        while time.monotonic() < until:
            source.read(20_000)
            time.sleep(0.1)


def bring_slowly(name: str) -> None:
    """A file of this name comes to the disk in small pieces, each well within the limit and all together not."""
    from finetune_trainer import disk

    bring, disk.PIECE_BYTES = disk.bring_piece, 1024

    def slow(descriptor: int, offset: int, length: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).name == name:
            time.sleep(LONG * length / os.fstat(descriptor).st_size)
        bring(descriptor, offset, length)

    disk.bring_piece = slow


def delay_output() -> None:
    from peft import PeftModel

    save = PeftModel.save_pretrained

    def slow(self: PeftModel, directory: str, **named: Any) -> Any:
        with open(Path(directory) / "large", "wb") as file:
            until = time.monotonic() + LONG
            while time.monotonic() < until:
                file.write(b"x" * 1000)
                file.flush()
                time.sleep(0.1)
        return save(self, directory, **named)

    PeftModel.save_pretrained = slow  # type: ignore[method-assign]  # in this process only


def bring_nothing_of_a_save(_: int) -> None:
    """The first piece of a checkpoint never comes to the disk; by the clock the next one is soon due."""
    from finetune_trainer import disk
    from finetune_trainer.callbacks import flow

    flow.SHORTEST_SAVE_INTERVAL_SECONDS = 0.1

    def stuck(descriptor: int, *_: int) -> None:
        if threading.current_thread().name == "saving":
            (Path(os.environ["FINETUNE_SCRATCH"]) / "stuck").touch()
            wait_for_something_that_never_comes()

    disk.bring_piece = stuck


def test_a_write_that_is_stuck_is_a_hang_though_training_could_go_on(tmp_path: Path, models: Path) -> None:
    job = an_endless_gang(tmp_path, models).with_spec(checkpoint={"everySteps": None, "everyMinutes": 0.001})
    with pods(job, hang_seconds=LIMIT, before=bring_nothing_of_a_save) as gang:
        gang.until(lambda: list(gang[0].scratch.glob("finetune-*/stuck")), "the first save")
        gang.look_for_hangs()
        (record,) = gang.wait()
    assert (record.kind, record.rank) == (EndKind.HANG, 0), gang.logs
    assert "(Saving, step" in record.message
    assert "saving.py" in record.message
    assert "in wait_for_something_that_never_comes" in gang.logs, "where the write is stuck"


def test_long_loading_tokenising_evaluating_saving_and_writing_are_no_hangs(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models).with_spec(
        dataset={"split": {"validation": 0.5}},
        hyperparameters={"epochs": None, "maxSteps": 2, "perDeviceBatchSize": 2},
        checkpoint={"everySteps": 1_000_000},
    )
    with pods(job, nodes=2, hang_seconds=LIMIT, before=be_slow_everywhere) as gang:
        gang.look_for_hangs()
        records = gang.wait()
    assert [record.kind for record in records] == [EndKind.FINISHED, EndKind.FINISHED], gang.logs
    assert "sign of life" not in gang.logs


def test_sigkill_ends_a_hang_that_sigterm_cannot(tmp_path: Path, models: Path) -> None:
    """A rank that is stopped hears no SIGTERM: when the grace period is over the pod ends all the same."""
    job = an_endless_gang(tmp_path, models).with_spec(checkpoint={"gracePeriodSeconds": 10})
    with pods(job) as gang:
        gang.until_step(2)
        gang[0].ranks[0].suspend()
        os.kill(gang[0].pid, signal.SIGTERM)
        (record,) = gang.wait()
    assert (gang[0].code, record.kind) == (ExitCode.INTERRUPTED, EndKind.INTERRUPTED), gang.logs
    assert "grace period" in record.message
