"""The end of an attempt is that of the rank that failed first, not of those that only noticed."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path

import pytest

from finetune_api.trainer_contract import EndKind, ExitCode
from finetune_trainer import cgroup
from finetune_trainer.callbacks.stopping import EarlyStop
from finetune_trainer.errors import DataError, DeviceUnavailable, Diverged, Interrupted
from finetune_trainer.failures import record_of
from finetune_trainer.interruption import INTERRUPTED_EXIT_CODE
from finetune_trainer.last_words import last_words
from finetune_trainer.ranks import RankProcess, Ranks
from finetune_trainer.records import RankRecord
from finetune_trainer.termination import Termination
from finetune_trainer.verdict import judge
from finetune_trainer.watch import Watch


def ended(rank: int, code: int | None = 0, *, killed: int | None = None, at: float = 1.0) -> RankProcess:
    return RankProcess(rank, 100 + rank, exit_code=code if killed is None else None, signal=killed, ended_at=at)


def record(rank: int, kind: EndKind, *, at: float = 1.0, message: str = "", collateral: bool = False) -> RankRecord:
    return RankRecord(rank=rank, kind=kind, ended_at=at, message=message, collateral=collateral)


def test_all_ranks_finished() -> None:
    processes = [ended(0), ended(1)]
    records = {rank: record(rank, EndKind.FINISHED) for rank in (0, 1)}
    assert judge(processes, records, oom_kills=0).kind is EndKind.FINISHED


def test_the_first_failure_counts_and_a_lost_peer_does_not() -> None:
    records = {
        0: record(0, EndKind.INTERNAL_ERROR, at=1.0, message="gloo: Connection closed by peer", collateral=True),
        1: record(1, EndKind.DEVICE_OUT_OF_MEMORY, at=2.0, message="CUDA out of memory"),
        2: record(2, EndKind.INTERNAL_ERROR, at=3.0, message="something else"),
    }
    verdict = judge([ended(0, 1), ended(1, 11), ended(2, 1)], records, oom_kills=0)
    assert (verdict.kind, verdict.rank) == (EndKind.DEVICE_OUT_OF_MEMORY, 1)


def test_a_killed_rank_goes_before_those_who_noticed() -> None:
    records = {0: record(0, EndKind.INTERNAL_ERROR, at=1.0, collateral=True)}
    verdict = judge([ended(0, 1), ended(1, killed=signal.SIGKILL, at=1.5)], records, oom_kills=0)
    assert (verdict.kind, verdict.rank, verdict.signal) == (EndKind.INTERNAL_ERROR, 1, "SIGKILL")


def test_a_kill_by_the_kernel_for_memory_is_host_out_of_memory() -> None:
    verdict = judge([ended(0, killed=signal.SIGKILL)], {}, oom_kills=1)
    assert verdict.kind is EndKind.HOST_OUT_OF_MEMORY
    assert "compute.memory" in verdict.advice


def test_a_user_error_stays_one_whatever_the_kernel_counted() -> None:
    records = {0: record(0, EndKind.USER_ERROR, message="no such file")}
    assert judge([ended(0, 10)], records, oom_kills=3).kind is EndKind.USER_ERROR


def test_an_interruption_hides_no_failure() -> None:
    records = {0: record(0, EndKind.INTERRUPTED, at=1.0), 1: record(1, EndKind.DIVERGED, at=2.0)}
    assert judge([ended(0, 14), ended(1, 13)], records, oom_kills=0).kind is EndKind.DIVERGED


def test_sigterm_before_the_rank_could_listen_is_an_interruption() -> None:
    assert judge([ended(0, killed=signal.SIGTERM)], {}, oom_kills=0).kind is EndKind.INTERRUPTED
    assert judge([ended(0, INTERRUPTED_EXIT_CODE)], {}, oom_kills=0).kind is EndKind.INTERRUPTED
    assert INTERRUPTED_EXIT_CODE == ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DataError("bad", file="a.jsonl", line=3), EndKind.USER_ERROR),
        (Diverged(7), EndKind.DIVERGED),
        (DeviceUnavailable("none"), EndKind.DEVICE_UNAVAILABLE),
        (Interrupted(), EndKind.INTERRUPTED),
        (MemoryError(), EndKind.HOST_OUT_OF_MEMORY),
        (OSError(12, "Cannot allocate memory"), EndKind.HOST_OUT_OF_MEMORY),
        (RuntimeError("std::bad_alloc"), EndKind.HOST_OUT_OF_MEMORY),
        # No CUDA is in use here: the CPU is the device.
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), EndKind.DEVICE_OUT_OF_MEMORY),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), EndKind.DEVICE_UNAVAILABLE),
        (RuntimeError("CUDA out of memory. Tried to allocate"), EndKind.DEVICE_OUT_OF_MEMORY),
        (KeyError("x"), EndKind.INTERNAL_ERROR),
        (SystemExit(3), EndKind.INTERNAL_ERROR),
    ],
)
def test_an_exception_has_a_kind(error: BaseException, kind: EndKind) -> None:
    found = record_of(error, 0)
    assert found.kind is kind
    assert not found.collateral
    assert ExitCode.of(found.kind).kind is kind


@pytest.mark.parametrize(
    ("text", "collateral"),
    [
        ("NCCL error: remote process exited or there was a network error, NCCL version 2.27", True),
        ("NCCL communicator was aborted on rank 1.", True),
        ("NCCL error in: x.cpp:1, unhandled cuda error (run with NCCL_DEBUG=INFO for details)", False),
    ],
)
def test_nccl_says_with_one_type_that_a_peer_went_and_that_its_own_device_failed(text: str, collateral: bool) -> None:
    from torch.distributed import DistBackendError

    assert record_of(DistBackendError(text), 0).collateral is collateral


def test_a_full_disk_is_said_with_what_to_do() -> None:
    found = record_of(OSError(errno.ENOSPC, "No space left on device", "/volume/output/model.safetensors"), 0)
    assert (found.kind, found.collateral) == (EndKind.INTERNAL_ERROR, False)
    assert "No space left" in found.message
    assert "Make room on the claim" in found.advice


def test_what_a_rank_says_without_ending_a_line_takes_no_memory_for_ever() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    process = RankProcess(0, 1, errors=reader)
    for percent in range(100):
        os.write(writer, b"\r%d %%" % percent + b"#" * 1000)
        process.listen()
    os.write(writer, b"\nthe end\n")
    process.listen()
    assert process.said[-1] == "the end"
    assert len(process.said[0]) < 10_000


def test_a_rank_that_leaves_as_if_all_were_well_ends_those_that_wait_for_it(tmp_path: Path) -> None:
    """A library that calls exit(0) leaves no record."""
    processes = [RankProcess(rank, os.spawnlp(os.P_NOWAIT, *command)) for rank, command in enumerate(
        [("sleep", "sleep", "86400"), ("true", "true")]
    )]  # fmt: skip
    wakeup, _ = os.pipe()
    os.set_blocking(wakeup, False)
    watch = Watch(
        Ranks(processes), tmp_path, node=0, gang=None, termination=Termination(),
        hang_limit=lambda: 1e6, grace_seconds=1e6, oom_kills=lambda: 0,
    )  # fmt: skip
    verdict = watch.until_the_end(wakeup)
    assert (verdict.kind, verdict.rank, verdict.exit_code) == (EndKind.INTERNAL_ERROR, 1, 0)
    assert verdict.message == "Rank 1 ended with exit code 0 and left no record."
    assert processes[0].killed


def test_a_message_names_the_line_that_raised_it() -> None:
    try:
        raise ValueError("row 7 is upside down")
    except ValueError as error:
        found = record_of(error, 0)
    assert found.message.startswith("ValueError: row 7 is upside down (test_verdict.py:")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["terminate called after throwing an instance of 'c10::Error'", "  what():  no such kernel", "NCCL WARN x"],
         "terminate called after throwing an instance of 'c10::Error' | what():  no such kernel"),
        (["Fatal Python error: Segmentation fault", "", "Thread 0x1:", '  File "b.py", line 1 in b',
          "Current thread 0x2 (most recent call first):", '  File "a.py", line 3 in f'],
         'Fatal Python error: Segmentation fault | File "a.py", line 3 in f'),
        (["2026-01-02 03:04:05,006 INFO rank 0: step 3/10", "KeyError: 'x'", "[W] Connection closed by peer"],
         "KeyError: 'x'"),
        (["one", "two", "", "[rank0]:[W1] ProcessGroupNCCL.cpp:1 Watchdog"], "two"),
        ([], ""),
    ],
    ids=["thrown in C++", "a crash with a stack", "an exception under noise", "nothing that looks like it", "silence"],
)  # fmt: skip
def test_the_last_words_are_those_that_tell_the_cause(lines: list[str], words: str) -> None:
    assert last_words(lines) == words


def test_the_rank_that_the_kernel_killed_for_memory_is_the_one_to_blame() -> None:
    records = {0: record(0, EndKind.INTERNAL_ERROR, at=0.5, message="queue.Empty")}
    verdict = judge([ended(0, 1), ended(1, killed=signal.SIGKILL, at=2)], records, oom_kills=1)
    assert (verdict.kind, verdict.rank, verdict.signal) == (EndKind.HOST_OUT_OF_MEMORY, 1, "SIGKILL")
    assert not verdict.collateral


def test_ranks_that_the_supervisor_ended_say_nothing() -> None:
    ours = ended(0, killed=signal.SIGKILL)
    ours.killed = True
    assert judge([ours, ended(1, killed=signal.SIGSEGV)], {}, oom_kills=0).rank == 1
    late = judge([ours], {}, oom_kills=0)
    assert (late.kind, "grace period" in late.message) == (EndKind.INTERRUPTED, True)


def test_the_words_of_gloo_mark_a_lost_peer() -> None:
    text = "[../third_party/gloo/gloo/transport/tcp/pair.cc:538] Read error [127.0.0.1]:1: Connection reset by peer"
    assert record_of(RuntimeError(text), 0).collateral


@pytest.mark.parametrize(
    ("membership", "file", "content"),
    [
        ("0::/\n", "memory.events", "low 0\noom 1\noom_kill 2\n"),
        ("0::/a/b\n", "a/b/memory.events", "oom_kill 2\n"),
        ("5:memory:/\n0::/\n", "memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ("5:cpu,memory:/kubepods/x\n", "memory/kubepods/x/memory.oom_control", "oom_kill 2\n"),
    ],
)
def test_kills_for_memory_are_counted_on_cgroup_v1_and_v2(
    membership: str, file: str, content: str, tmp_path: Path
) -> None:
    (tmp_path / "membership").write_text(membership)
    root = tmp_path / "cgroup"
    (root / file).parent.mkdir(parents=True)
    (root / file).write_text(content)
    assert cgroup.oom_kills(root, tmp_path / "membership") == 2
    assert cgroup.oom_kills(tmp_path / "nothing", tmp_path / "membership") == 0


@pytest.mark.parametrize(
    ("losses", "stops"),
    [([3, 2, 1], False), ([1, 2, 3], True), ([3, 2, 2, 2], True), ([3, 2, 2], False), ([3, 2, 1.95, 1.95], True)],
)
def test_early_stopping_waits_for_its_patience(losses: list[float], stops: bool) -> None:
    early = EarlyStop(patience=2, min_delta=0.1, metric="eval_loss", greater_is_better=False)
    history = [entry for loss in losses for entry in ({"loss": 9.9}, {"eval_loss": loss})]
    assert early.reached(history) is stops


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    written = record(3, EndKind.DIVERGED, at=5.5, message="nan")
    written.write(tmp_path)
    assert RankRecord.read(tmp_path, 3) == written
    assert RankRecord.read(tmp_path, 4) is None
    (tmp_path / "record-4.json").write_text(json.dumps({"rank": 4})[:5])
    assert RankRecord.read(tmp_path, 4) is None
