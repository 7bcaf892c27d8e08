"""From the ends of the ranks to the end of the attempt: which rank failed first, and of what. Pure, no side effects."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetune_api.trainer_contract import EndKind, ExitCode

from .ranks import RankProcess
from .records import RankRecord


@dataclass(frozen=True)
class Verdict:
    """How an attempt ended on this node."""

    kind: EndKind
    message: str = ""
    advice: str = ""
    rank: int | None = None
    exit_code: int | None = None
    signal: str | None = None


def judge(
    processes: Sequence[RankProcess],
    records: Mapping[int, RankRecord],
    *,
    oom_kills: int,
    hang: Verdict | None = None,
) -> Verdict:
    """The verdict on ranks that have all ended.

    `oom_kills`: processes of the container that the kernel killed for memory since the attempt began.
    `hang`: what the hang watch found before it ended the ranks.
    """
    if hang is not None:
        return hang
    ends = [_end_of(process, records.get(process.rank)) for process in processes]
    if all(end.verdict.kind is EndKind.FINISHED for end in ends):
        return Verdict(EndKind.FINISHED)
    bad = [end for end in ends if end.verdict.kind is not EndKind.FINISHED]
    first = min(bad, key=lambda end: (end.collateral, end.verdict.kind is EndKind.INTERRUPTED, end.at))
    # The kernel may have killed a helper of the rank (a data loader's worker): the rank then fails of something else.
    memory_ran_out = oom_kills > 0 and first.verdict.kind in (EndKind.INTERNAL_ERROR, EndKind.HOST_OUT_OF_MEMORY)
    return _out_of_host_memory(first.verdict) if memory_ran_out else first.verdict


_BEFORE_IT_BEGAN = "SIGTERM came before training had begun."


@dataclass(frozen=True)
class _End:
    verdict: Verdict
    at: float
    collateral: bool


def _end_of(process: RankProcess, record: RankRecord | None) -> _End:
    if record is not None:
        verdict = Verdict(record.kind, record.message, record.advice, record.rank, process.exit_code)
        return _End(verdict, record.ended_at, record.collateral)
    at = process.ended_at if process.ended_at is not None else 0.0
    if process.signal is not None:
        name = signal.Signals(process.signal).name
        if process.signal == signal.SIGTERM:
            # It came before the rank could listen: nothing had begun, nothing is lost.
            return _End(Verdict(EndKind.INTERRUPTED, _BEFORE_IT_BEGAN), at, collateral=False)
        verdict = Verdict(
            EndKind.INTERNAL_ERROR, f"Rank {process.rank} was killed by {name}.", "", process.rank, None, name
        )
        return _End(verdict, at, collateral=False)
    if process.exit_code == ExitCode.INTERRUPTED:
        return _End(Verdict(EndKind.INTERRUPTED, _BEFORE_IT_BEGAN), at, collateral=False)
    message = f"Rank {process.rank} ended with exit code {process.exit_code} and left no record."
    return _End(Verdict(EndKind.INTERNAL_ERROR, message, "", process.rank, process.exit_code), at, collateral=False)


def _out_of_host_memory(verdict: Verdict) -> Verdict:
    return Verdict(
        EndKind.HOST_OUT_OF_MEMORY,
        f"The container ran out of memory: the kernel killed a process. {verdict.message}".rstrip(),
        "Raise compute.memory, or lower hyperparameters.dataLoaderWorkers or perDeviceBatchSize.",
        verdict.rank,
        verdict.exit_code,
        verdict.signal,
    )
