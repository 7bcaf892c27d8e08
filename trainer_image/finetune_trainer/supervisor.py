"""Process 1 of the trainer's pod: starts the ranks, watches them, and alone says how the attempt ended.

Imports no torch. What an attempt does is in worker.py. Imports wait until SIGTERM is heard: the kernel drops a signal
for which process 1 has no handler, and the pod would then live on for its whole grace period.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from .termination import Termination

_termination = Termination()
if __name__ == "__main__":
    _termination.listen()

from finetune_api.trainer_contract import AttemptRecord, EndKind, ExitCode, TrainerConfig  # noqa: E402  # after the handler

from . import cgroup, staging  # noqa: E402
from .environment import Place, read_config, termination_message_path  # noqa: E402
from .errors import UserError  # noqa: E402
from .fencing import RunClaim  # noqa: E402
from .gang import Gang  # noqa: E402
from .greeting import Identity  # noqa: E402
from .opening import Opened, open_run, refused  # noqa: E402
from .ranks import Ranks  # noqa: E402
from .records import RankRecord, attempt_record  # noqa: E402
from .results import Results  # noqa: E402
from .shown import Shown  # noqa: E402
from .verdict import Verdict  # noqa: E402
from .volume import SECONDS_AFTER_SIGTERM, NoAnswer, Volume  # noqa: E402
from .watch import Watch  # noqa: E402

logger = logging.getLogger("finetune_trainer.supervisor")

DEFAULT_HANG_SECONDS = 1800
DEFAULT_GRACE_SECONDS = 300
SECONDS_FOR_THE_GOOD_BYE = 2.0
"""After SIGTERM, to nodes whose line is just broken."""
SECONDS_FOR_THE_VOLUME = 30.0


def main(hang_limit: Callable[[], float] | None = None) -> int:
    """Runs one attempt; returns the exit code of its kind of end. `hang_limit`: in place of the configured one."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s supervisor: %(message)s", stream=sys.stderr
    )
    try:
        config = read_config()
    except UserError as error:
        return _end(
            AttemptRecord(uid="", attempt=1, kind=EndKind.USER_ERROR, message=error.message, advice=error.advice)
        )
    try:
        place = Place.of(config)
    except UserError as error:
        return _end(refused(config, error))
    results, leads = Results.of(config), place.node == 0
    limit = hang_limit or (lambda: _hang_seconds(config))
    shown = Shown(config, leads=leads)
    volume = Volume(results.root, _termination, shown.warn)
    opened = open_run(config, results, volume, _termination, leads=leads, limit=limit)
    if isinstance(opened, AttemptRecord):
        shown.close()
        return _end(opened)
    return _end(Attempt(config, place, results, opened, volume, shown, limit).run())


def _end(record: AttemptRecord) -> int:
    """Says the end in the log and in the termination message."""
    text = " ".join(part for part in (record.message, record.advice) if part)
    good = record.kind in (EndKind.FINISHED, EndKind.INTERRUPTED)
    logger.log(logging.INFO if good else logging.ERROR, "%s%s", record.kind, f": {text}" if text else "")
    try:
        termination_message_path().write_text(record.encode(), encoding="utf-8")
    except OSError as error:
        logger.debug("No termination message: %s", error)
    return int(ExitCode.of(record.kind))


class Attempt:
    """One attempt on this node that has its run, from the start of the ranks to the verdict."""

    def __init__(
        self, config: TrainerConfig, place: Place, results: Results, opened: Opened, volume: Volume, shown: Shown,
        hang_limit: Callable[[], float],
    ) -> None:  # fmt: skip
        self.config = config
        self.place = place
        self.leads = place.node == 0
        self.scratch = opened.scratch
        self.claim = opened.claim
        self.previous = opened.previous
        self.results = results
        self.volume = volume
        self.shown = shown
        self.hang_limit = hang_limit
        self.kills_before = cgroup.oom_kills()

    def run(self) -> AttemptRecord:
        """Starts the ranks and stays until the last has ended."""
        wakeup, waker = self._listen_to_signals()
        run = self.claim.number if self.claim else 0
        self.shown.begin(self.scratch, run, self.previous)
        ranks = Ranks.start(self.config, self.place, self.results, self.scratch, run)
        gang = self._join(waker)
        self.shown.serve()
        watch = Watch(
            ranks, self.scratch, node=self.place.node, gang=gang, termination=_termination,
            hang_limit=self.hang_limit, grace_seconds=_grace_seconds(self.config, self.place),
            oom_kills=lambda: cgroup.oom_kills() - self.kills_before,
        )  # fmt: skip
        record = self._record(watch.until_the_end(wakeup))
        if gang is not None:
            gang.close(record.kind, SECONDS_FOR_THE_GOOD_BYE if _termination.requested else None)
        self.shown.close()
        if self.claim is not None:
            keep_record(record, self.claim, self.volume)
        staging.clear()
        shutil.rmtree(self.scratch, ignore_errors=True)
        return record

    def _listen_to_signals(self) -> tuple[int, int]:
        """Ends of children and requests to stop wake the watch up; returns the two ends of the pipe that does it."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return reader, writer

    def _join(self, waker: int) -> Gang | None:
        """The line to the supervisors of the other nodes; None where there are none."""
        place, config = self.place, self.config
        if place.nodes == 1:
            return None

        def wake() -> None:
            with suppress(BlockingIOError):
                os.write(waker, b"m")

        me = Identity(config.job.uid, config.attempt, place.node, place.nodes, place.gang_token)
        gang = Gang(me, wake)
        if not self.leads:
            gang.call(place.master_address, place.gang_port)
            return gang
        try:
            gang.listen(config.progress_host, place.gang_port)
        except OSError as error:
            logger.warning("No line to the other nodes, whose ends will be noticed late: %s", error)
        return gang

    def _record(self, verdict: Verdict) -> AttemptRecord:
        ended = None if verdict.ended_at is None else datetime.fromtimestamp(verdict.ended_at, UTC)
        fields = {
            "message": verdict.message, "advice": verdict.advice, "rank": verdict.rank,
            "exit_code": verdict.exit_code, "signal": verdict.signal, "node": verdict.node,
            "ended_at": ended.isoformat(timespec="milliseconds").replace("+00:00", "Z") if ended else None,
            "collateral": verdict.collateral,
        }  # fmt: skip
        if verdict.kind in (EndKind.FINISHED, EndKind.INTERRUPTED):
            fields = {"message": verdict.message, "advice": verdict.advice}
        record = attempt_record(self.shown.report(), verdict.kind, **fields)
        leader = RankRecord.read(self.scratch, 0)
        if verdict.kind is EndKind.FINISHED and leader is not None:
            record = AttemptRecord.model_validate({**record.dump(), **leader.details})
        return record if self.leads else record.model_copy(update={"run": None})


def keep_record(record: AttemptRecord, claim: RunClaim, volume: Volume) -> None:
    """Keeps the record on the volume. One that does not answer, the cause of many a hang, must not keep the end from
    being said."""

    def keep(_: object) -> None:
        try:
            claim.record_end(record)
        except OSError as error:
            logger.warning("The record could not be kept beside the claim: %s", error)
        claim.close()

    try:
        volume.ask(keep, lambda: SECONDS_FOR_THE_VOLUME)
    except NoAnswer:
        logger.warning("The volume does not answer: the record is not kept there")


def _hang_seconds(config: TrainerConfig) -> float:
    policy = config.spec.retry_policy
    return float(policy.hang_timeout_seconds if policy and policy.hang_timeout_seconds else DEFAULT_HANG_SECONDS)


def _grace_seconds(config: TrainerConfig, place: Place) -> float:
    """What the ranks get after SIGTERM: the whole grace period, but for what the good-bye and the record need."""
    checkpoint = config.spec.checkpoint
    whole = checkpoint.grace_period_seconds if checkpoint and checkpoint.grace_period_seconds else DEFAULT_GRACE_SECONDS
    needed = SECONDS_AFTER_SIGTERM + (SECONDS_FOR_THE_GOOD_BYE if place.nodes > 1 else 0.0)
    return max(whole - needed, whole / 2)


if __name__ == "__main__":
    sys.exit(main())
