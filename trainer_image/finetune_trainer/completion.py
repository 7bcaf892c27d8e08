"""What earlier runs left: a complete output makes a new attempt needless, a missing record is rebuilt. No torch."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from finetune_api.trainer_contract import AttemptRecord, Effective, EndKind, Result, TrainerConfig

from . import checkpoints
from .fencing import RunClaim
from .results import Results, read_claim


def already_complete(config: TrainerConfig, results: Results) -> AttemptRecord | None:
    """The record of an attempt that has nothing to do, or None where there is something.

    `checkpoint.resume: Never` asks for a result of its own: then only what this very job has written counts.
    """
    report = results.complete_report()
    if report is None or report.get("fingerprint") != config.fingerprint:
        return None
    if not resumes(config) and report.get("uid") != config.job.uid:
        return None
    try:
        return AttemptRecord(
            uid=config.job.uid,
            attempt=config.attempt,
            run=report.get("run"),
            kind=EndKind.FINISHED,
            already_complete=True,
            step=report["steps"],
            from_step=report["steps"],
            total_steps=report["steps"],
            checkpoint=checkpoints.state_of(results.checkpoints),
            effective=Effective.model_validate(report.get("effective", {})),
            metrics=report.get("metrics", {}),
            output=Result.model_validate(report["output"]),
            warnings=report.get("warnings", []),
        )
    except (KeyError, ValidationError):
        return None


def resumes(config: TrainerConfig) -> bool:
    """Whether the job continues from what lies on the volume."""
    checkpoint = config.spec.checkpoint
    return checkpoint is None or checkpoint.resume != "Never"


def start_afresh(results: Results, claim: RunClaim) -> None:
    """Forgets what earlier jobs with the same fingerprint learnt; a complete output stays until it is replaced."""
    for path in (results.checkpoints, results.run_record, results.metrics):
        claim.discard(path)
    results.checkpoints.mkdir(parents=True, exist_ok=True)
    claim.note(afresh=True)


def rebuilt_record(results: Results, run: int, config: TrainerConfig) -> AttemptRecord | None:
    """The record of the run before, where that was killed before it could write one."""
    claim = read_claim(results.runs / str(run - 1))
    if run <= 1 or "record" in claim or not claim:
        return None
    metrics = [entry for entry in read_metrics(results) if entry.get("run") == run - 1]
    state = checkpoints.state_of(results.checkpoints)
    return AttemptRecord(
        uid=claim.get("uid", config.job.uid),
        attempt=max(1, int(claim.get("attempt", 1))),
        run=run - 1,
        kind=EndKind.INTERNAL_ERROR,
        step=max((int(entry["step"]) for entry in metrics), default=None),
        message=f"Run {run - 1} ended without a record: it was killed, or its node was lost.",
        checkpoint=state,
    )


def read_metrics(results: Results) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a line that was cut off by a kill is left out."""
    entries = []
    try:
        lines = results.metrics.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "step" in entry:
            entries.append(entry)
    return entries
