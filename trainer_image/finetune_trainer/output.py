"""The result: adapter or model, tokenizer, model card and report, made complete by one rename."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from finetune_api.trainer_contract import Result, Rewind, TrainerConfig

from . import checkpoints
from .disk import beat_while_written, sync_file
from .fencing import RunClaim
from .files import let_group_read, size_of, sync_directory
from .model_card import model_card
from .progress import Journal, Progress
from .rank import Rank
from .report import make_report
from .results import Results
from .schedule import Metric

if TYPE_CHECKING:
    from .data import PreparedData
    from .models.source import ModelSource


def write_output(
    *, trainer: Any, tokenizer: Any, config: TrainerConfig, results: Results, rank: Rank, journal: Journal,
    progress: Progress, state: Any, adapter: bool, early_stopped: bool, data: PreparedData, base: ModelSource,
    seconds: float, metric: Metric, rewind: Rewind | None,
) -> dict[str, Any]:  # fmt: skip
    """Writes the output; rank 0 only. Returns the fields of the record. Raises FencedOff.

    The weights are those of the last step, and of the best checkpoint where the job was stopped early.
    """
    output_step = state.global_step
    if early_stopped:
        kept = checkpoints.complete(results.checkpoints)
        best = checkpoints.best(kept, greater_is_better=metric.greater_is_better)
        if best is not None and best.step != output_step:
            trainer.load_weights(best.path)
            output_step = best.step
    claim = RunClaim(results, rank.run)
    partial = claim.workspace / results.output.name
    shutil.rmtree(partial, ignore_errors=True)
    with claim.fenced(), beat_while_written(partial, rank.heartbeat):
        partial.mkdir()
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    path = f"{config.fingerprint}/{results.output.name}"
    digest = _digest(partial, rank.heartbeat)
    result = Result(path=path, adapter=adapter, bytes=size_of(partial), digest=digest)
    report = make_report(
        config=config, run=rank.run, journal=journal, progress=progress, steps=state.global_step,
        output_step=output_step, early_stopped=early_stopped, seconds=seconds, counts=data.counts,
        output=result.dump(), rewind=rewind,
    )  # fmt: skip
    with claim.fenced():
        (partial / "README.md").write_text(model_card(config, report, base), encoding="utf-8")
        (partial / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
        _complete(results, partial, claim, rank.heartbeat)
    claim.discard(results.cache)
    return {"metrics": report["metrics"], "output": report["output"], "step": state.global_step}


def _digest(directory: Path, heartbeat: Callable[[int], None]) -> str:
    """128-bit xxh3 of names and contents of all files, hexadecimal: what a job that begins with them learns from."""
    digest = xxhash.xxh3_128()
    for file in sorted(file for file in directory.rglob("*") if file.is_file() and file.name != "README.md"):
        digest.update(f"{file.relative_to(directory).as_posix()} {checkpoints.digest_of(file, heartbeat)}\n".encode())
    return digest.hexdigest()


def _complete(results: Results, partial: Path, claim: RunClaim, heartbeat: Callable[[int], None]) -> None:
    for file in partial.rglob("*"):
        if file.is_file():
            let_group_read(file)
            sync_file(file, heartbeat)
    sync_directory(partial)
    claim.commit(partial, results.output)
