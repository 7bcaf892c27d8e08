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
import tempfile
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from .termination import Termination

_termination = Termination()
if __name__ == "__main__":
    _termination.listen()

from finetune_api.trainer_contract import (  # noqa: E402  # after the handler
    VOLUME_FULL,
    AttemptRecord,
    EndKind,
    ExitCode,
    ProgressReport,
    TrainerConfig,
)

from . import cgroup, endpoint, staging  # noqa: E402
from .completion import already_complete, rebuilt_record  # noqa: E402
from .environment import Place, read_config, termination_message_path  # noqa: E402
from .errors import FencedOff, UserError  # noqa: E402
from .fencing import RunClaim  # noqa: E402
from .files import write_atomically  # noqa: E402
from .gang import Gang  # noqa: E402
from .greeting import Identity  # noqa: E402
from .ranks import Ranks  # noqa: E402
from .records import RankRecord, attempt_record, progress_path, read_progress  # noqa: E402
from .results import Results, is_full, timestamp  # noqa: E402
from .verdict import Verdict  # noqa: E402
from .watch import Watch  # noqa: E402

logger = logging.getLogger("finetune_trainer.supervisor")

DEFAULT_HANG_SECONDS = 1800
DEFAULT_GRACE_SECONDS = 300
SECONDS_FOR_THE_RECORD = 5.0
SECONDS_FOR_THE_GOOD_BYE = 2.0
"""After SIGTERM, to nodes whose line is just broken."""
SECONDS_FOR_THE_VOLUME = 30.0


def main() -> int:
    """Runs one attempt; returns the exit code of its kind of end."""
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
        results = Results.of(config)
        done = already_complete(config, results)
        if done is not None:
            return _end(done)
        if _termination.requested:
            return _end(_nothing_begun(config))
    except UserError as error:
        return _end(_refused(config, error))
    try:
        scratch = Path(tempfile.mkdtemp(prefix="finetune-"))
    except OSError as error:
        return _end(_no_room_to_work(config, error))
    try:
        results.create()
        attempt = Attempt(config, place, results, scratch)
    except UserError as error:
        return _end(_refused(config, error))
    except (FencedOff, OSError) as error:
        return _end(_unclaimed(config, results, error))
    return _end(attempt.run())


def _before_a_run(config: TrainerConfig, kind: EndKind, message: str, advice: str = "") -> AttemptRecord:
    """The record of an attempt that ended before it had a run."""
    record = AttemptRecord(uid=config.job.uid, attempt=config.attempt, kind=kind)
    return record.model_copy(update={"message": message, "advice": advice})


def _refused(config: TrainerConfig, error: UserError) -> AttemptRecord:
    return _before_a_run(config, EndKind.USER_ERROR, error.message, error.advice)


def _unclaimed(config: TrainerConfig, results: Results, error: Exception) -> AttemptRecord:
    """The volume did not take the first few bytes of a run."""
    if not is_full(error):
        said = f"The run could not be claimed below {results.root}: {error}"
        return _before_a_run(config, EndKind.INTERNAL_ERROR, said, "See whether the volume is there.")
    said = f"The volume of the results is full: not even the record of a run could be written ({error})."
    advice = "Free space on it, or let its claim grow: the next attempt continues from the newest checkpoint."
    record = _before_a_run(config, EndKind.INTERNAL_ERROR, said, advice)
    return record.model_copy(update={"cause": VOLUME_FULL})


def _no_room_to_work(config: TrainerConfig, error: OSError) -> AttemptRecord:
    said = f"No directory for the work of this pod could be made: {error}"
    return _before_a_run(config, EndKind.INTERNAL_ERROR, said, "See whether the node's own disk is full.")


def _nothing_begun(config: TrainerConfig) -> AttemptRecord:
    return _before_a_run(config, EndKind.INTERRUPTED, "SIGTERM before the start: nothing was begun.")


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
    """One attempt on this node, from the claim of its run number to the verdict."""

    def __init__(self, config: TrainerConfig, place: Place, results: Results, scratch: Path) -> None:
        self.config = config
        self.place = place
        self.leads = place.node == 0
        self.scratch = scratch
        self.claim = RunClaim.take(results, config) if self.leads else None
        self.results = results
        self.kills_before = cgroup.oom_kills()

    def run(self) -> AttemptRecord:
        """Starts the ranks and stays until the last has ended."""
        wakeup, waker = self._listen_to_signals()
        self._first_report()
        run = self.claim.number if self.claim else 0
        ranks = Ranks.start(self.config, self.place, self.results, self.scratch, run)
        gang = self._join(waker)
        server = None
        if self.leads and self.config.progress_port:
            try:
                server = endpoint.serve(self.config.progress_host, self.config.progress_port, self._report)
            except OSError as error:
                logger.warning("No /progress: port %d: %s", self.config.progress_port, error)
        watch = Watch(
            ranks, self.scratch, node=self.place.node, gang=gang, termination=_termination,
            hang_seconds=_hang_seconds(self.config), grace_seconds=_grace_seconds(self.config, self.place),
            oom_kills=lambda: cgroup.oom_kills() - self.kills_before,
        )  # fmt: skip
        record = self._record(watch.until_the_end(wakeup))
        if gang is not None:
            gang.close(record.kind, SECONDS_FOR_THE_GOOD_BYE if _termination.requested else None)
        if server is not None:
            server.shutdown()
        if self.claim is not None:
            keep_record(record, self.claim)
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

    def _first_report(self) -> None:
        config = self.config
        report = ProgressReport(
            uid=config.job.uid,
            attempt=config.attempt,
            run=self.claim.number if self.claim else 0,
            stage="Starting",
            updated_at=timestamp(),
            previous=rebuilt_record(self.results, self.claim.number, config) if self.claim else None,
        )
        write_atomically(progress_path(self.scratch), report.model_dump_json(by_alias=True, exclude_none=True))
        self._last_report = report

    def _report(self) -> ProgressReport:
        report = read_progress(self.scratch)
        if report is not None:
            self._last_report = report
        return self._last_report

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
        record = attempt_record(self._report(), verdict.kind, **fields)
        leader = RankRecord.read(self.scratch, 0)
        if verdict.kind is EndKind.FINISHED and leader is not None:
            record = AttemptRecord.model_validate({**record.dump(), **leader.details})
        return record if self.leads else record.model_copy(update={"run": None})


def keep_record(record: AttemptRecord, claim: RunClaim) -> None:
    """Keeps the record on the volume. One that does not answer, the cause of many a hang, must not keep the end from
    being said."""

    def keep() -> None:
        try:
            claim.record_end(record)
        except OSError as error:
            logger.warning("The record could not be kept beside the claim: %s", error)
        claim.close()

    keeper = threading.Thread(target=keep, name="record", daemon=True)
    keeper.start()
    keeper.join(SECONDS_FOR_THE_RECORD if _termination.requested else SECONDS_FOR_THE_VOLUME)
    if keeper.is_alive():
        logger.warning("The volume does not answer: the record is not kept there")


def _hang_seconds(config: TrainerConfig) -> float:
    policy = config.spec.retry_policy
    return float(policy.hang_timeout_seconds if policy and policy.hang_timeout_seconds else DEFAULT_HANG_SECONDS)


def _grace_seconds(config: TrainerConfig, place: Place) -> float:
    """What the ranks get after SIGTERM: the whole grace period, but for what the good-bye and the record need."""
    checkpoint = config.spec.checkpoint
    whole = checkpoint.grace_period_seconds if checkpoint and checkpoint.grace_period_seconds else DEFAULT_GRACE_SECONDS
    needed = SECONDS_FOR_THE_RECORD + (SECONDS_FOR_THE_GOOD_BYE if place.nodes > 1 else 0.0)
    return max(whole - needed, whole / 2)


if __name__ == "__main__":
    sys.exit(main())
