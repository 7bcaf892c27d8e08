"""From the ends of the ranks to the end of the attempt: which rank failed first, and of what. Pure, no side effects."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ConfigDict

from finetune_api.trainer_contract import ContractModel, EndKind, ExitCode

from .last_words import last_words
from .ranks import RankProcess
from .records import RankRecord


class Verdict(ContractModel):
    """How an attempt ended, as a node sees it; nodes tell it to one another."""

    model_config = ConfigDict(frozen=True)

    kind: EndKind
    message: str = ""
    advice: str = ""
    rank: int | None = None
    exit_code: int | None = None
    signal: str | None = None
    node: int | None = None
    """Index of the node of the rank."""
    ended_at: float | None = None
    """When the rank ended: seconds since the epoch. From judge, which knows no calendar: monotonic seconds."""
    collateral: bool = False
    """No rank of this node was at fault: they only noticed, or were ended for it."""


def judge(processes: Sequence[RankProcess], records: Mapping[int, RankRecord], *, oom_kills: int) -> Verdict:
    """The verdict on ranks that have ended; those that still run or that the supervisor ended say nothing.

    `oom_kills`: processes of the container that the kernel killed for memory since the attempt began.
    """
    ended = [process for process in processes if process.ended_by_itself or process.rank in records]
    ends = [_end_of(process, records.get(process.rank)) for process in ended]
    bad = [end for end in ends if end.verdict.kind is not EndKind.FINISHED]
    if not bad:
        complete = len(ends) == len(processes)
        return Verdict(kind=EndKind.FINISHED) if complete else Verdict(kind=EndKind.INTERRUPTED, message=_NOT_IN_TIME)
    first = min(bad, key=lambda end: (end.collateral, end.verdict.kind is EndKind.INTERRUPTED, end.at))
    killed = [end for end in bad if end.verdict.signal == signal.SIGKILL.name]
    if oom_kills > 0 and killed and first.verdict.kind in _MAY_HIDE_A_KILL:
        # The kernel chose one of the ranks: whatever the others then said, that is the one.
        first = min(killed, key=lambda end: end.at)
    # It may have killed a helper of the rank (a data loader's worker) as well: the rank then fails of something else.
    memory_ran_out = oom_kills > 0 and first.verdict.kind in _MAY_HIDE_A_KILL
    found = first.verdict.model_copy(update={"ended_at": first.at, "collateral": first.collateral})
    return _out_of_host_memory(found) if memory_ran_out else found


_BEFORE_IT_BEGAN = "SIGTERM came before training had begun."
_NOT_IN_TIME = "The ranks had not ended when the grace period after SIGTERM was over, and were killed."
_MAY_HIDE_A_KILL = (EndKind.INTERNAL_ERROR, EndKind.HOST_OUT_OF_MEMORY)


@dataclass(frozen=True)
class _End:
    verdict: Verdict
    at: float
    collateral: bool


def _end_of(process: RankProcess, record: RankRecord | None) -> _End:
    if record is not None:
        verdict = Verdict(
            kind=record.kind, message=record.message, advice=record.advice, rank=record.rank,
            exit_code=process.exit_code,
        )  # fmt: skip
        return _End(verdict, record.ended_at, record.collateral)
    at = process.ended_at if process.ended_at is not None else 0.0
    if process.signal == signal.SIGTERM or process.exit_code == ExitCode.INTERRUPTED:
        # It came before the rank could listen, or could say so: nothing had begun, nothing is lost.
        return _End(Verdict(kind=EndKind.INTERRUPTED, message=_BEFORE_IT_BEGAN), at, collateral=False)
    name = None
    if process.signal is not None:
        name = signal.Signals(process.signal).name
        message = f"Rank {process.rank} was killed by {name}."
    else:
        message = f"Rank {process.rank} ended with exit code {process.exit_code} and left no record."
    said = last_words(process.said) if process.signal != signal.SIGKILL else ""
    verdict = Verdict(
        kind=EndKind.INTERNAL_ERROR,
        message=f"{message} It last said: {said}" if said else message,
        rank=process.rank,
        exit_code=process.exit_code,
        signal=name,
    )
    return _End(verdict, at, collateral=False)


def _out_of_host_memory(verdict: Verdict) -> Verdict:
    return verdict.model_copy(
        update={
            "kind": EndKind.HOST_OUT_OF_MEMORY,
            "message": f"The container ran out of memory: the kernel killed a process. {verdict.message}".rstrip(),
            "advice": "Raise compute.memory, or lower hyperparameters.dataLoaderWorkers or perDeviceBatchSize.",
            "collateral": False,
        }
    )
