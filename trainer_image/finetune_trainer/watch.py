"""Watches the ranks of this node until the last has ended, together with the supervisors of the other nodes.

The first end that is nobody's consequence is the cause; it ends all ranks of all nodes at once. How ranks are judged is
in verdict.py, how hangs are found in hangs.py.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finetune_api.trainer_contract import EndKind

from .gang import Gang
from .hangs import Sight, Stacks, hang, seen, stalled
from .heartbeats import HangWatch, Silence, heartbeat_path
from .messages import Message
from .ranks import RankProcess, Ranks
from .records import RankRecord, now
from .termination import Termination
from .verdict import Verdict, judge

logger = logging.getLogger("finetune_trainer.supervisor")

# Who only noticed a lost peer waits for the word of who lost it; who was asked to end gets a moment to say so.
SECONDS_FOR_THE_OTHERS = 10.0
# A process that waits in the kernel cannot be killed: the attempt ends without it.
SECONDS_TO_DIE = 30.0
SECONDS_FOR_A_LOOK = 8.0
_TICK = 0.5


@dataclass
class _Look:
    """A look at all ranks of all nodes that is under way; node 0 only."""

    number: int
    until: float
    asked: set[int]
    answers: dict[int, Sequence[Sight]] = field(default_factory=dict)


class Watch:
    """From the start of the ranks to the verdict."""

    def __init__(
        self, ranks: Ranks, scratch: Path, *, node: int, gang: Gang | None, termination: Termination,
        hang_limit: Callable[[], float], grace_seconds: float, oom_kills: Callable[[], int],
    ) -> None:  # fmt: skip
        """`hang_limit`: seconds without a sign of life that count as a hang. `oom_kills`: how many processes the kernel
        has killed for memory since the attempt began."""
        self._ranks = ranks
        self._scratch = scratch
        self._node = node
        self._gang = gang
        self._termination = termination
        self._limit = hang_limit
        self._grace = grace_seconds
        self._oom_kills = oom_kills
        self._signs = HangWatch({p.rank: heartbeat_path(scratch, p.rank) for p in ranks.processes}, now())
        self._stacks = Stacks(ranks, scratch)
        self._cause: Verdict | None = None
        self._asked_to_end = False
        self._kill_at: float | None = None
        self._killed_at: float | None = None
        self._waits_for_cause_until: float | None = None
        self._look: _Look | None = None
        self._looks = 0
        self._look_again_at = 0.0
        self._deaf: set[int] = set()
        """Who did not answer in the look before."""

    def until_the_end(self, wakeup: int) -> Verdict:
        """Returns when all ranks have ended and it is clear why. `wakeup`: becomes readable when something happens."""
        looked = 0.0
        while self._ranks.running or self._waits_for_a_cause():
            select.select([wakeup, *self._ranks.outputs], [], [], _TICK)
            _drain(wakeup)
            self._ranks.listen()
            self._hear()
            self._ranks.reap()
            self._pass_on_termination()
            self._take_ends()
            if self._kill_at is not None and now() > self._kill_at:
                self._kill()
            if self._killed_at is not None and now() > self._killed_at + SECONDS_TO_DIE:
                logger.error("Ranks %s cannot be killed; the attempt ends without them", _names(self._ranks.running))
                break
            if now() - looked >= _TICK / 2:
                looked = now()
                self._look_for_hangs(self._signs.silences(looked))
        self._ranks.listen()
        return self._cause or self._judged()

    # -- ends

    def _records(self) -> dict[int, RankRecord]:
        found = ((p.rank, RankRecord.read(self._scratch, p.rank)) for p in self._ranks.processes)
        return {rank: record for rank, record in found if record is not None}

    def _judged(self) -> Verdict:
        verdict = judge(self._ranks.processes, self._records(), oom_kills=self._oom_kills())
        at = verdict.ended_at
        return verdict.model_copy(
            update={"node": self._node, "ended_at": None if at is None else time.time() - (now() - at)}
        )

    def _take_ends(self) -> None:
        """Looks at ranks that have ended badly: the others of the gang cannot go on without them."""
        if self._cause is not None or not any(map(self._ended_badly, self._ranks.processes)):
            return
        verdict = self._judged()
        if verdict.kind is EndKind.INTERRUPTED:
            self._ask_to_end()
            self._kill_by(now() + SECONDS_FOR_THE_OTHERS)
        elif not verdict.collateral:
            self._take_cause(verdict)
        elif self._waits_for_cause_until is None:
            logger.warning("Rank %s has lost another one: %s", verdict.rank, verdict.message)
            self._waits_for_cause_until = now() + SECONDS_FOR_THE_OTHERS
            self._kill_by(self._waits_for_cause_until)

    def _ended_badly(self, process: RankProcess) -> bool:
        """Whether others may wait for it: also where a library has ended it as if all were well."""
        unsaid = process.exit_code == 0 and RankRecord.read(self._scratch, process.rank) is None
        return process.ended_by_itself and (process.exit_code != 0 or unsaid)

    def _waits_for_a_cause(self) -> bool:
        """The ranks of this node have only noticed that another had gone: its node is to say why."""
        until = self._waits_for_cause_until
        connected = self._gang is not None and bool(self._gang.others or self._gang.away)
        return self._cause is None and until is not None and connected and now() < until

    def _take_cause(self, verdict: Verdict, told: Verdict | None = None) -> None:
        """The cause of the gang's end is known: tell the others and end everything here. `told`: how it is said, where
        not as the fault of a rank."""
        self._cause = verdict
        what = "a rank of another node" if verdict.rank is None else f"rank {verdict.rank}"
        logger.warning("The attempt ends for %s: %s", what, verdict.message or verdict.kind)
        if self._gang is not None:
            told = told or verdict.model_copy(update={"collateral": False})
            self._gang.tell(Message(say="cause", cause=told))
        if verdict.kind is EndKind.HANG:
            self._stacks.log()
        self._kill()

    def _kill(self) -> None:
        if self._killed_at is None:
            self._killed_at = now()
        self._ranks.kill()

    def _kill_by(self, moment: float) -> None:
        self._kill_at = moment if self._kill_at is None else min(self._kill_at, moment)

    # -- being asked to end

    def _pass_on_termination(self) -> None:
        if self._termination.requested and self._kill_at is None:
            self._kill_at = now() + self._grace
            self._ask_to_end()

    def _ask_to_end(self) -> None:
        if not self._asked_to_end:
            self._asked_to_end = True
            logger.info("The ranks are asked to save and to end")
            self._ranks.send(signal.SIGTERM)

    # -- the other nodes

    def _hear(self) -> None:
        for message in self._gang.heard() if self._gang is not None else ():
            if message.say == "cause" and message.cause is not None and self._cause is None:
                elsewhere = message.cause.node != self._node
                here = message.cause.model_copy(update={"collateral": elsewhere or message.cause.collateral})
                self._take_cause(here, told=message.cause)
            elif message.say == "lost" and self._cause is None:
                self._lost(message.node)
            elif message.say == "leaving" and message.kind is EndKind.INTERRUPTED and self._ranks.running:
                self._ask_to_end()
                self._kill_by(now() + SECONDS_FOR_THE_OTHERS)
            elif message.say == "look" and self._gang is not None:
                sights = self._stacks.look(seen(self._signs.silences(now()), self._node))
                self._gang.tell(Message(say="sights", look=message.look, sights=tuple(sights)))
            elif message.say == "silent" and self._cause is None:
                self._begin_look()
            elif message.say == "sights" and self._look is not None and message.look == self._look.number:
                self._look.answers[message.node] = message.sights

    def _lost(self, node: int) -> None:
        """A supervisor has gone without a word, or cannot be reached. What ended it only its cluster can say; no rank
        is known to have failed, there or here."""
        if self._ranks.running or self._waits_for_cause_until is not None:
            message = f"Node {node} was lost: its supervisor ended without a word or cannot be reached."
            lost = Verdict(kind=EndKind.INTERNAL_ERROR, message=message, node=node, collateral=True)
            self._take_cause(lost, told=lost)

    # -- hangs

    def _look_for_hangs(self, silences: list[Silence]) -> None:
        running = {process.rank for process in self._ranks.running}
        if self._cause is not None or self._killed_at is not None or not running:
            return
        if self._look is not None:
            self._finish_look(self._look)
            return
        sights = [sight for sight in seen(silences, self._node) if sight.rank in running]
        if not stalled(sights, self._limit()) or now() < self._look_again_at:
            return
        self._look_again_at = now() + max(1.0, self._limit() / 10)
        if self._gang is None or not self._gang.others:
            # Who waits for ranks that cannot be asked about may wait for good reason.
            if self._gang is None or any(not s.waiting and s.silent_seconds > self._limit() for s in sights):
                self._take_hang(hang(self._stacks.look(sights), self._limit()))
        elif self._node == 0:
            self._begin_look()
        else:
            self._gang.tell(Message(say="silent"))

    def _begin_look(self) -> None:
        """Node 0: asks all nodes what they see; who stands still is to be judged by all of it."""
        if self._gang is None or self._look is not None:
            return
        self._looks += 1
        self._look = _Look(self._looks, now() + SECONDS_FOR_A_LOOK, self._gang.others)
        self._gang.tell(Message(say="look", look=self._looks))
        self._look.answers[self._node] = self._stacks.look(seen(self._signs.silences(now()), self._node))

    def _finish_look(self, look: _Look) -> None:
        deaf = sorted(look.asked - look.answers.keys())
        if deaf and now() < look.until:
            return
        self._look = None
        if self._gang is not None and self._gang.away:
            return  # a line is broken just now: what is beyond it may be what all the others wait for
        once, self._deaf = self._deaf, set(deaf)
        if self._deaf - once:
            self._look_again_at = 0.0
            return  # an answer may have been lost with a line that is back
        sights = [sight for answer in look.answers.values() for sight in answer]
        if stalled(sights, self._limit()):
            self._take_hang(hang(sights, self._limit(), deaf))

    def _take_hang(self, verdict: Verdict) -> None:
        here = verdict.node is None or verdict.node == self._node
        self._take_cause(verdict.model_copy(update={"ended_at": time.time(), "collateral": not here}))


def _names(processes: list[RankProcess]) -> str:
    return ", ".join(str(process.rank) for process in processes)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 512):
            pass
    except BlockingIOError:
        pass
