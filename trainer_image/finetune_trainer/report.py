"""The report of a finished job: final metrics, the loss curve, what ran where and how long. Written with the output."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from finetune_api.trainer_contract import Rewind, TrainerConfig

from .progress import Journal, Progress, mean_over_steps
from .results import timestamp

_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "datasets", "tokenizers", "safetensors")


def library_versions() -> dict[str, str]:
    """Library to version, of those that change what is learnt."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def final_metrics(journal: Journal) -> dict[str, float | None]:
    """The last value of each metric, and the mean training loss of all steps, over all runs of the job."""
    metrics: dict[str, float | None] = {}
    losses = journal.values("loss")
    if losses:
        metrics["train_loss"] = mean_over_steps(losses, journal.began_at)
        metrics["last_loss"] = losses[-1][1]
    for name in ("eval_loss", "eval_perplexity", "base_eval_loss", "base_eval_perplexity"):
        values = journal.values(name)
        if values:
            metrics[name] = values[-1][1]
    return metrics


def make_report(
    *, config: TrainerConfig, run: int, journal: Journal, progress: Progress, steps: int, output_step: int,
    early_stopped: bool, seconds: float, counts: dict[str, Any], output: dict[str, Any],
    rewind: Rewind | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The content of report.json."""
    return {
        "contractVersion": config.contract_version,
        "job": config.job.dump(),
        "uid": config.job.uid,
        "fingerprint": config.fingerprint,
        "attempt": config.attempt,
        "run": run,
        "method": config.spec.method,
        "steps": steps,
        "outputStep": output_step,
        "stoppedEarly": early_stopped,
        **({"rewind": rewind.dump()} if rewind else {}),
        "secondsOfThisRun": round(seconds, 3),
        "finishedAt": timestamp(),
        "metrics": final_metrics(journal),
        "lossCurve": journal.values("loss"),
        "evaluationCurve": journal.values("eval_loss"),
        "examples": counts,
        "effective": progress.report.effective.dump(),
        "versions": library_versions(),
        "warnings": progress.report.warnings,
        "output": output,
        "spec": config.spec.dump(),
    }
