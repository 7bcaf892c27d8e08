"""What precedes a run: whether there is anything to do, and the claim of its number; else the record of an end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from finetune_api.trainer_contract import VOLUME_FULL, AttemptRecord, EndKind, TrainerConfig

from .completion import already_complete, rebuilt_record
from .errors import FencedOff, UserError
from .fencing import RunClaim
from .results import Results, is_full
from .termination import Termination
from .volume import Beat, NoAnswer, Volume


@dataclass(frozen=True)
class Opened:
    """What a run begins with."""

    scratch: Path
    claim: RunClaim | None
    """None on the nodes that do not lead."""
    previous: AttemptRecord | None
    """The record of the run before, where that could not write one."""


def open_run(
    config: TrainerConfig, results: Results, volume: Volume, termination: Termination, *, leads: bool,
    limit: Callable[[], float],
) -> Opened | AttemptRecord:  # fmt: skip
    """Claims a run, or says why there is none. `limit`: seconds in which the volume is to answer each question."""
    try:
        done = volume.ask(lambda _: already_complete(config, results), limit)
        if done is not None:
            return done
        if termination.requested:
            return _ended(config, EndKind.INTERRUPTED, "SIGTERM before the start: nothing was begun.")
        try:
            scratch = Path(tempfile.mkdtemp(prefix="finetune-"))
        except OSError as error:
            return _no_room_to_work(config, error)
        claim, previous = volume.ask(lambda beat: _claimed(config, results, leads, beat), limit)
    except UserError as error:
        return refused(config, error)
    except NoAnswer as error:
        return _ended(config, error.kind, error.message, error.advice)
    except (FencedOff, OSError) as error:
        return _unclaimed(config, results, error)
    return Opened(scratch, claim, previous)


def _claimed(
    config: TrainerConfig, results: Results, leads: bool, beat: Beat
) -> tuple[RunClaim | None, AttemptRecord | None]:
    results.create()
    if not leads:
        return None, None
    claim = RunClaim.take(results, config, beat)
    beat()
    return claim, rebuilt_record(results, claim.number, config)


def refused(config: TrainerConfig, error: UserError) -> AttemptRecord:
    """The record of an attempt for which a person has to change something."""
    return _ended(config, EndKind.USER_ERROR, error.message, error.advice)


def _ended(config: TrainerConfig, kind: EndKind, message: str, advice: str = "") -> AttemptRecord:
    """The record of an attempt that ended before it had a run."""
    record = AttemptRecord(uid=config.job.uid, attempt=config.attempt, kind=kind)
    return record.model_copy(update={"message": message, "advice": advice})


def _unclaimed(config: TrainerConfig, results: Results, error: Exception) -> AttemptRecord:
    """The volume did not take the first few bytes of a run."""
    if not is_full(error):
        said = f"The run could not be claimed below {results.root}: {error}"
        return _ended(config, EndKind.INTERNAL_ERROR, said, "See whether the volume is there.")
    said = f"The volume of the results is full: not even the record of a run could be written ({error})."
    advice = "Free space on it, or let its claim grow: the next attempt continues from the newest checkpoint."
    record = _ended(config, EndKind.INTERNAL_ERROR, said, advice)
    return record.model_copy(update={"cause": VOLUME_FULL})


def _no_room_to_work(config: TrainerConfig, error: OSError) -> AttemptRecord:
    said = f"No directory for the work of this pod could be made: {error}"
    return _ended(config, EndKind.INTERNAL_ERROR, said, "See whether the node's own disk is full.")
