"""Process 1 of the trainer's pod: starts the ranks, watches them, and alone says how the attempt ended.

Imports no torch. What an attempt does is in worker.py. Imports wait until SIGTERM is heard: the kernel drops a signal
for which process 1 has no handler, and the pod would then live on for its whole grace period.
"""

from __future__ import annotations

import logging
import os
import select
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from .termination import Termination

_termination = Termination()
if __name__ == "__main__":
    _termination.listen()

from finetune_api.trainer_contract import (  # noqa: E402  # after the handler
    AttemptRecord,
    EndKind,
    ExitCode,
    ProgressReport,
    TrainerConfig,
)

from . import cgroup, endpoint  # noqa: E402
from .completion import already_complete, rebuilt_record  # noqa: E402
from .environment import Place, read_config, termination_message_path  # noqa: E402
from .errors import UserError  # noqa: E402
from .files import write_atomically  # noqa: E402
from .heartbeats import HangWatch, heartbeat_path  # noqa: E402
from .ranks import STACK_SIGNAL, Ranks  # noqa: E402
from .records import RankRecord, attempt_record, now, progress_path, read_progress, stacks_path  # noqa: E402
from .results import Results, RunClaim, timestamp  # noqa: E402
from .verdict import Verdict, judge  # noqa: E402

logger = logging.getLogger("finetune_trainer.supervisor")

DEFAULT_HANG_SECONDS = 1800
DEFAULT_GRACE_SECONDS = 300
SECONDS_FOR_THE_RECORD = 5.0
# What a rank gets to write its own record after another one has failed, and to write its stacks when it hangs.
SECONDS_FOR_THE_OTHERS = 10.0
SECONDS_FOR_STACKS = 3.0
_TICK = 0.5


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
        results.create()
    except UserError as error:
        record = AttemptRecord(uid=config.job.uid, attempt=config.attempt, kind=EndKind.USER_ERROR)
        return _end(record.model_copy(update={"message": error.message, "advice": error.advice}))
    return _end(Attempt(config, place, results).run())


def _nothing_begun(config: TrainerConfig) -> AttemptRecord:
    record = AttemptRecord(uid=config.job.uid, attempt=config.attempt, kind=EndKind.INTERRUPTED)
    return record.model_copy(update={"message": "SIGTERM before the start: nothing was begun."})


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

    def __init__(self, config: TrainerConfig, place: Place, results: Results) -> None:
        self.config = config
        self.place = place
        self.leads = place.node == 0
        self.scratch = Path(tempfile.mkdtemp(prefix="finetune-"))
        self.claim = RunClaim.take(results, config) if self.leads else None
        self.results = results
        self.kills_before = cgroup.oom_kills()

    def run(self) -> AttemptRecord:
        """Starts the ranks and stays until the last has ended."""
        wakeup = self._listen_to_signals()
        self._first_report()
        run = self.claim.number if self.claim else 0
        ranks = Ranks.start(self.config, self.place, self.results, self.scratch, run)
        if _termination.requested:
            ranks.send(signal.SIGTERM)
        server = None
        if self.leads and self.config.progress_port:
            try:
                server = endpoint.serve(self.config.progress_host, self.config.progress_port, self._report)
            except OSError as error:
                logger.warning("No /progress: port %d: %s", self.config.progress_port, error)
        hang = self._watch(ranks, wakeup)
        record = self._record(ranks, hang)
        if server is not None:
            server.shutdown()
        if self.claim is not None:
            try:
                self.claim.record_end(record)
            except OSError as error:
                logger.warning("The record could not be kept beside the claim: %s", error)
        shutil.rmtree(self.scratch, ignore_errors=True)
        return record

    def _listen_to_signals(self) -> int:
        """Ends of children and requests to stop wake the watch up; returns the descriptor to select on."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return reader

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

    def _watch(self, ranks: Ranks, wakeup: int) -> Verdict | None:
        """Waits for all ranks to end. Returns the verdict of a hang where it had to end them for that."""
        limit = _hang_seconds(self.config)
        watch = HangWatch({p.rank: heartbeat_path(self.scratch, p.rank) for p in ranks.processes}, limit, now())
        forwarded = False
        kill_at: float | None = None
        hang: Verdict | None = None
        while ranks.running:
            select.select([wakeup], [], [], _TICK)
            _drain(wakeup)
            ranks.reap()
            if _termination.requested and not forwarded:
                logger.info("SIGTERM: the ranks save and end")
                ranks.send(signal.SIGTERM)
                forwarded = True
                kill_at = now() + _grace_seconds(self.config)
            failed = [p for p in ranks.processes if not p.running and p.exit_code != 0]
            if failed and ranks.running and kill_at is None:
                logger.warning("Rank %d has ended; the others get %.0f s", failed[0].rank, SECONDS_FOR_THE_OTHERS)
                kill_at = now() + SECONDS_FOR_THE_OTHERS
            if kill_at is not None and now() > kill_at:
                ranks.send(signal.SIGKILL)
            if hang is None and ranks.running and (silent := watch.silent_ranks(now())):
                hang = self._end_hang(ranks, silent, limit)
        return hang

    def _end_hang(self, ranks: Ranks, silent: list[int], limit: float) -> Verdict:
        """Collects the stacks of all ranks, then ends them."""
        ranks.send(STACK_SIGNAL)
        deadline = now() + SECONDS_FOR_STACKS
        paths = {process.rank: stacks_path(self.scratch, process.rank) for process in ranks.running}
        while now() < deadline and not all(path.exists() and path.stat().st_size for path in paths.values()):
            select.select([], [], [], 0.1)
        # A moment more: faulthandler writes thread by thread.
        select.select([], [], [], 0.2)
        stacks = {rank: path.read_text("utf-8", "replace") if path.exists() else "" for rank, path in paths.items()}
        for rank, text in stacks.items():
            logger.error("Stacks of rank %d:\n%s", rank, text or "(none: it does not answer)")
        ranks.send(signal.SIGKILL)
        names = ", ".join(str(rank) for rank in silent)
        excerpt = _innermost(stacks.get(silent[0], ""))
        return Verdict(
            EndKind.HANG,
            f"No sign of life from rank {names} for {limit:.0f} s. {excerpt}".rstrip(),
            "The stacks of all ranks are in the log. Raise retryPolicy.hangTimeoutSeconds if this was slow, not stuck.",
            rank=silent[0],
        )

    def _record(self, ranks: Ranks, hang: Verdict | None) -> AttemptRecord:
        records = {
            process.rank: of_rank
            for process in ranks.processes
            if (of_rank := RankRecord.read(self.scratch, process.rank)) is not None
        }
        verdict = judge(ranks.processes, records, oom_kills=cgroup.oom_kills() - self.kills_before, hang=hang)
        fields = {
            "message": verdict.message, "advice": verdict.advice, "rank": verdict.rank,
            "exit_code": verdict.exit_code, "signal": verdict.signal,
        }  # fmt: skip
        if verdict.kind in (EndKind.FINISHED, EndKind.INTERRUPTED):
            fields |= {"rank": None, "exit_code": None}
        record = attempt_record(self._report(), verdict.kind, **fields)
        leader = records.get(0)
        if verdict.kind is EndKind.FINISHED and leader is not None:
            record = AttemptRecord.model_validate({**record.dump(), **leader.details})
        return record if self.leads else record.model_copy(update={"run": None})


def _hang_seconds(config: TrainerConfig) -> float:
    policy = config.spec.retry_policy
    return float(policy.hang_timeout_seconds if policy and policy.hang_timeout_seconds else DEFAULT_HANG_SECONDS)


def _grace_seconds(config: TrainerConfig) -> float:
    """What the ranks get after SIGTERM: the whole grace period, but for what the record of the end needs."""
    checkpoint = config.spec.checkpoint
    whole = checkpoint.grace_period_seconds if checkpoint and checkpoint.grace_period_seconds else DEFAULT_GRACE_SECONDS
    return max(whole - SECONDS_FOR_THE_RECORD, whole / 2)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 512):
            pass
    except BlockingIOError:
        pass


def _innermost(stacks: str) -> str:
    """Where the main thread stands: the first lines of the last thread of a faulthandler dump."""
    main_thread = stacks.strip().split("\n\n")[-1]
    frames = [line.strip() for line in main_thread.splitlines() if line.strip().startswith("File ")]
    return "It stands in " + " <- ".join(frames[:6]) if frames else ""


if __name__ == "__main__":
    sys.exit(main())
