"""Whether the ranks hang, which of them is to blame, and what it was doing. Looks at them, and ends nobody."""

from __future__ import annotations

import logging
import re
import select
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from finetune_api.trainer_contract import ContractModel, EndKind

from .heartbeats import Silence
from .ranks import STACK_SIGNAL, Ranks
from .records import stacks_path
from .verdict import Verdict

logger = logging.getLogger(__name__)

SECONDS_FOR_STACKS = 3.0
_FRAMES = 6
_ADVICE = "The stacks of all ranks are in the log. Raise retryPolicy.hangTimeoutSeconds if this was slow, not stuck."
_STOPPED = {
    "T": "it is stopped (SIGSTOP)",
    "t": "a debugger holds it",
    "D": "it waits in the kernel, for a disk or mount",
}
# Innermost frames of who waits for other ranks: c10d's Python layer, DDP before and inside autograd, our own.
_COLLECTIVE = re.compile(
    r"torch/distributed/|torch/nn/parallel/distributed\.py|finetune_trainer/world\.py|_engine_run_backward"
)


class Sight(ContractModel):
    """What is seen of a rank from outside."""

    rank: int
    node: int
    silent_seconds: float
    waiting: bool = False
    """By its own word it waits for other ranks."""
    doing: str = ""
    state: str = ""
    """The process state of /proc: R, S, D, T ..."""
    frames: tuple[str, ...] = ()
    """Of the main thread, the innermost first; none where it did not answer."""

    @property
    def in_collective(self) -> bool:
        """Whether it waits for other ranks."""
        return self.waiting or any(_COLLECTIVE.search(frame) for frame in self.frames[:3])


def seen(silences: Iterable[Silence], node: int) -> list[Sight]:
    """The sights of a node's ranks, from their signs of life alone."""
    return [
        Sight(rank=s.rank, node=node, silent_seconds=s.seconds, waiting=s.sign.waiting, doing=s.sign.doing)
        for s in silences
    ]


def stalled(sights: Sequence[Sight], limit: float) -> bool:
    """Whether the gang stands still: a rank is silent for longer than the limit (seconds) and does not wait for
    another, or all are."""
    overdue = [sight for sight in sights if sight.silent_seconds > limit]
    return any(not sight.waiting for sight in overdue) or len(overdue) == len(sights) > 0


class Stacks:
    """The stacks of this node's ranks, as faulthandler writes them on a signal."""

    def __init__(self, ranks: Ranks, scratch: Path) -> None:
        self._ranks = ranks
        self._scratch = scratch
        self._texts: dict[int, str] = {}

    def look(self, sights: Sequence[Sight]) -> list[Sight]:
        """The sights with process states and stacks; takes up to SECONDS_FOR_STACKS where a rank does not answer."""
        states = {process.rank: _state(process.pid) for process in self._ranks.running}
        before = {rank: size for rank in states if (size := _size(stacks_path(self._scratch, rank))) is not None}
        # Who has no file yet knows no such signal and would die of it.
        for process in self._ranks.running:
            if process.rank in before:
                process.send(STACK_SIGNAL)
        deadline = time.monotonic() + SECONDS_FOR_STACKS
        able = [rank for rank in before if states[rank] not in _STOPPED]
        while time.monotonic() < deadline and not all(self._grown(rank, before[rank]) for rank in able):
            select.select([], [], [], 0.05)
        # A moment more: faulthandler writes thread by thread.
        select.select([], [], [], 0.2)
        self._texts = {rank: self._new(rank, before.get(rank, 0)) for rank in states}
        return [
            sight.model_copy(
                update={"state": states.get(sight.rank, ""), "frames": _frames(self._texts.get(sight.rank, ""))}
            )
            for sight in sights
        ]

    def log(self) -> None:
        """Puts what the last look brought into the log."""
        for rank, text in self._texts.items():
            logger.error("Stacks of rank %d:\n%s", rank, text or "(none: it does not answer)")

    def _grown(self, rank: int, before: int) -> bool:
        return (_size(stacks_path(self._scratch, rank)) or 0) > before

    def _new(self, rank: int, before: int) -> str:
        try:
            return stacks_path(self._scratch, rank).read_bytes()[before:].decode("utf-8", "replace")
        except OSError:
            return ""


def hang(sights: Sequence[Sight], limit: float, deaf: Sequence[int] = ()) -> Verdict:
    """The verdict on ranks that stand still. `deaf`: nodes whose supervisor does not answer."""
    longest = max((sight.silent_seconds for sight in sights), default=limit)
    if deaf:
        names = ", ".join(map(str, deaf))
        message = f"Node {names} does not answer; the ranks elsewhere have stood still for {longest:.0f} s."
        return Verdict(kind=EndKind.HANG, message=message, advice=_ADVICE, node=deaf[0])
    # Who caused it may have fallen silent a moment after those who wait.
    silent = [sight for sight in sights if sight.silent_seconds > longest / 2]
    # The first to be blamed: who cannot run, who does not answer, who does something of its own, who fell silent first.
    culprit = min(silent, key=lambda s: (s.state not in _STOPPED, s.in_collective, bool(s.frames), -s.silent_seconds))
    others = sorted(sight.rank for sight in silent if sight.rank != culprit.rank)
    said = [f"Rank {culprit.rank} has shown no sign of life for {culprit.silent_seconds:.0f} s ({culprit.doing})"]
    if culprit.state in _STOPPED:
        said.append(_STOPPED[culprit.state])
    if culprit.frames:
        said.append(f"it stands in {' <- '.join(culprit.frames[:_FRAMES])}")
    if others:
        several, names = len(others) > 1, ", ".join(map(str, others))
        whom = "others as well" if culprit.in_collective else "it"
        said.append(f"ranks {names} wait for {whom}" if several else f"rank {names} waits for {whom}")
    return Verdict(
        kind=EndKind.HANG, message="; ".join(said) + ".", advice=_ADVICE, rank=culprit.rank, node=culprit.node
    )


def _frames(stacks: str) -> tuple[str, ...]:
    """The main thread's frames, which is the last of a faulthandler dump."""
    main_thread = stacks.strip().split("\n\n")[-1]
    frames = (line.strip() for line in main_thread.splitlines())
    return tuple(frame for frame in frames if frame.startswith("File "))[: 2 * _FRAMES]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
