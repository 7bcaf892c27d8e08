"""Several ranks, in one pod and in two, live and die together: by events, while every timeout is set far away."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from finetune_api.trainer_contract import EndKind, ExitCode

from .attempts import AJob, Ranks, free_port
from .cable import Cable
from .pods import pods
from .test_resume import assert_same_end


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, models: Path, loaded_libraries: None) -> AJob:
    job = a_gang(tmp_path_factory.mktemp("undisturbed"), models)
    Ranks(job, 2).finish()
    return job


def a_gang(volume: Path, models: Path) -> AJob:
    """A job for two ranks, with a grace period that no test would live to see the end of."""
    return AJob.on(volume, models).with_spec(
        hyperparameters={"perDeviceBatchSize": 2}, checkpoint={"gracePeriodSeconds": 86400}
    )


def test_a_gang_of_two_pods_is_ended_at_once_by_any_death_and_continues_with_equal_losses(
    tmp_path: Path, models: Path, undisturbed: AJob
) -> None:
    job = a_gang(tmp_path, models)

    ports = (free_port(), free_port())
    with Cable.in_a_process(ports[1]) as (cable, cutter), pods(job, nodes=2, ports=ports, cable=cable) as gang:
        gang.until(lambda: "The line to node 1 is there" in gang.logs, "the line")
        os.kill(cutter, signal.SIGUSR1)
        gang.until(lambda: "The line to node 1 is there again" in gang.logs, "the line after it was cut")
        gang.until_step(3)
        left = [rank for pod in gang for rank in pod.ranks]
        gang[1].ranks[0].kill()
        first, second = gang.wait()
        assert (second.rank, second.signal, second.node, second.collateral) == (1, "SIGKILL", 1, False), gang.logs
        assert (first.rank, first.signal, first.node, first.collateral) == (1, "SIGKILL", 1, True)
        assert first.kind is second.kind is EndKind.INTERNAL_ERROR
        assert second.ended_at is not None
        assert second.ended_at == first.ended_at
        assert not any(map(psutil.Process.is_running, left))

    with pods(job, nodes=2) as gang:
        gang.until_step(5)
        left = gang[0].ranks
        gang[0].kill()
        (survivor,) = gang.wait()
        assert survivor.collateral, gang.logs
        assert (survivor.rank, survivor.node, survivor.message) == (
            None, 0, "Node 0 was lost: its supervisor ended without a word or cannot be reached.",
        )  # fmt: skip
        psutil.wait_procs(left, timeout=30)
        assert not any(map(psutil.Process.is_running, left)), "ranks go with their supervisor"

    with pods(job, nodes=2) as gang:
        gang.until_step(7)
        gang[1].kill()
        (survivor,) = gang.wait()
        assert (survivor.collateral, survivor.node) == (True, 1), gang.logs

    with pods(job, nodes=2) as gang:
        assert [record.kind for record in gang.wait()] == [EndKind.FINISHED, EndKind.FINISHED], gang.logs
        assert "is broken" not in gang.logs, "a line that ends after a good-bye is nothing to look at"
    assert_same_end(undisturbed, job)


def test_sigterm_to_one_pod_makes_both_save_and_end(tmp_path: Path, models: Path, undisturbed: AJob) -> None:
    job = a_gang(tmp_path, models).with_spec(checkpoint={"everySteps": 1000})
    with pods(job, nodes=2) as gang:
        gang.until_step(3)
        os.kill(gang[1].pid, signal.SIGTERM)
        records = gang.wait()
    assert [record.kind for record in records] == [EndKind.INTERRUPTED, EndKind.INTERRUPTED], gang.logs
    assert not any(record.collateral or record.rank is not None for record in records)
    assert records[0].checkpoint.latest is not None
    assert records[0].checkpoint.latest.step == records[0].step


def fail_after_the_others_have_noticed(rank: int) -> None:
    """Rank 1 raises and loses its connections, and says why only when rank 0 is known to have ended for that."""
    if rank != 1:
        return
    from finetune_trainer import worker
    from finetune_trainer.records import RankRecord
    from finetune_trainer.trainer import RecipeTrainer

    def broken(self: RecipeTrainer, *_: object, **__: object) -> None:
        raise ValueError("row 7 is upside down")

    def slow_record(error: BaseException, number: int) -> RankRecord:
        cut_all_connections()
        log_of_the_supervisor = Path(f"/proc/{os.getppid()}/fd/2")
        while "has lost another one" not in log_of_the_supervisor.read_text("utf-8", "replace"):
            time.sleep(0.02)
        return told(error, number)

    told = worker.record_of
    worker.record_of = slow_record
    RecipeTrainer.training_step = broken  # type: ignore[assignment,method-assign]  # in this process only


def test_the_rank_that_failed_is_named_and_not_the_one_that_noticed_first(
    tmp_path: Path, models: Path, loaded_libraries: None
) -> None:
    with pods(a_gang(tmp_path, models), ranks=2, before=fail_after_the_others_have_noticed) as gang:
        (record,) = gang.wait()
    assert "Rank 0 has lost another one" in gang.logs, gang.logs
    assert (gang[0].code, record.kind, record.rank) == (ExitCode.INTERNAL_ERROR, EndKind.INTERNAL_ERROR, 1), gang.logs
    assert record.message.startswith("ValueError: row 7 is upside down (")
    assert "test_gang.py" in record.message
    assert not record.collateral


def cut_all_connections() -> None:
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(entry).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(entry.name))) as connection:
                    connection.getpeername()  # raises where it is none, but one that listens
                    connection.shutdown(socket.SHUT_RDWR)


def die_in_c(rank: int) -> None:
    """Rank 1 ends as a library in C++ ends it: no exception, no record, only words on its error output."""
    if rank != 1:
        return
    from finetune_trainer.trainer import RecipeTrainer

    def aborted(self: RecipeTrainer, *_: object, **__: object) -> None:
        os.write(
            2, b"terminate called after throwing an instance of 'c10::Error'\n  what():  the tensor is made of tin\n"
        )
        os.write(2, b"[W ProcessGroupGloo.cpp:1] Connection closed by peer\n")
        os.abort()

    RecipeTrainer.training_step = aborted  # type: ignore[assignment,method-assign]  # in this process only


def test_the_last_words_of_a_rank_that_left_no_record_are_kept(
    tmp_path: Path, models: Path, loaded_libraries: None
) -> None:
    with pods(a_gang(tmp_path, models), nodes=2, before=die_in_c) as gang:
        first, second = gang.wait()
    for record in (first, second):
        assert (record.rank, record.signal, record.node) == (1, "SIGABRT", 1), gang.logs
        assert "the tensor is made of tin" in record.message
        assert "Connection closed" not in record.message
    assert "the tensor is made of tin" in gang[1].log, "the log has it as well"
