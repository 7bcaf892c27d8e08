"""The same model, rows and settings in a hand-written TRL script and through the recipe, alternately in one run.

Run by hand: `python -m tests.benchmarks.trainer_overhead [--rounds 3]`. Prints losses, steps per second and the time
from the start of the process to the end of the first step, as ratio and difference.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from finetune_api.trainer_contract import TrainerConfig
from tests.trainer.tiny_model import make_tiny_model

ROWS = 320
THREADS = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))), "OMP_WAIT_POLICY": "PASSIVE"}
"""The same for both sides: what is compared is the recipe, not how threads wait."""
TRL_SCRIPT = Path(__file__).with_name("trl_script.py")


@dataclass
class Measured:
    """One run."""

    first_step: float
    """Seconds from the start of the process to the end of the first step."""
    steps_per_second: float
    total: float
    losses: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        make_tiny_model(base / "models" / "base", hidden=192, layers=4)
        rows = _rows()
        _write(base / "data" / "rows.jsonl", rows)
        _write(base / "data" / "ordered.jsonl", [rows[index] for index in _recipe_order(base, rows)])
        ours, theirs = [], []
        for number in range(arguments.rounds):
            theirs.append(_trl(base, number))
            ours.append(_recipe(base, number))
        _print(ours, theirs)


def _rows() -> list[dict[str, str]]:
    return [
        {"prompt": f"What is {n} plus {n % 13}?\n", "completion": f"It is {n + n % 13}." + " Really so." * (n % 17)}
        for n in range(ROWS)
    ]


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _config(base: Path, name: str) -> TrainerConfig:
    document: dict[str, Any] = {
        "job": {"name": "benchmark", "namespace": "local", "uid": name},
        "attempt": 1,
        "fingerprint": "0123456789abcdef",
        "spec": {
            "model": {"claim": {"name": "models", "path": "base"}},
            "dataset": {
                "format": "PromptCompletion",
                "sources": [{"claim": {"name": "data", "path": "rows.jsonl"}}],
                "split": {"validation": 0.0},
            },
            "tuning": {"type": "LoRA", "rank": 16, "alpha": 32, "dropout": 0.0},
            "hyperparameters": {"epochs": 1.0, "learningRate": 2e-4, "gradientCheckpointing": False, "seed": 42},
            "checkpoint": {"everySteps": 1_000_000},
            "compute": {"gpusPerNode": 0},
            "tracking": {"tensorBoard": False},
        },
        "mounts": {
            "output": str(base / name), "claims": {"models": str(base / "models"), "data": str(base / "data")},
        },
        "world": {"device": "CPU"},
        "progressPort": 0,
    }  # fmt: skip
    return TrainerConfig.load(json.dumps(document))


def _recipe_order(base: Path, rows: list[dict[str, str]]) -> list[int]:
    """The order in which the recipe takes the rows of the first epoch."""
    from transformers import AutoTokenizer

    from finetune_trainer.batches import BatchOrder, BatchSplit, lengths_of
    from finetune_trainer.data import prepare

    tokenizer = AutoTokenizer.from_pretrained(base / "models" / "base")
    data = prepare(_config(base, "order"), tokenizer, maximum_length=256, heartbeat=lambda _: None)
    by_tokens = {tuple(row["input_ids"]): index for index, row in enumerate(data.train)}
    position = {}
    for index, row in enumerate(rows):
        tokens = tokenizer(row["prompt"] + row["completion"])["input_ids"] + [tokenizer.eos_token_id]
        position[by_tokens[tuple(tokens)]] = index
    steps = BatchOrder(lengths_of(data.train), BatchSplit(8, 1, 1), 0, 42, like_length=True).steps(0)
    return [position[row] for step in steps for row in step]


def _trl(base: Path, number: int) -> Measured:
    result = base / f"trl-{number}.json"
    settings = {
        "model": str(base / "models" / "base"), "data": str(base / "data" / "ordered.jsonl"),
        "output": str(base / f"trl-{number}"), "result": str(result),
    }  # fmt: skip
    environment = os.environ | THREADS | {"HF_HOME": str(base / f"home-{number}"), "TOKENIZERS_PARALLELISM": "false"}
    began = time.time()
    subprocess.run([sys.executable, TRL_SCRIPT, json.dumps(settings)], env=environment, check=True, stdout=sys.stderr)
    content = json.loads(result.read_text(encoding="utf-8"))
    return _measured(began, content["ends"], content["losses"])


def _recipe(base: Path, number: int) -> Measured:
    config = _config(base, f"recipe-{number}")
    environment = os.environ | THREADS | {
        "FINETUNE_CONFIG": config.encode(), "FINETUNE_TERMINATION_MESSAGE": str(base / "message")
    }  # fmt: skip
    began = time.time()
    subprocess.run([sys.executable, "-m", "finetune_trainer.supervisor"], env=environment, check=True)
    root = Path(config.mounts.output) / config.fingerprint
    report = json.loads((root / "output" / "report.json").read_text(encoding="utf-8"))
    lines = (root / "logs" / "train.log").read_text(encoding="utf-8").splitlines()
    stamps = [line[:23] for line in lines if " step " in line]
    ends = [datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S,%f").timestamp() for stamp in stamps]
    return _measured(began, ends, [loss for _, loss in report["lossCurve"]])


def _measured(began: float, ends: list[float], losses: list[float]) -> Measured:
    # The first steps warm caches up: the rate is that of the rest.
    warm = ends[3:]
    return Measured(ends[0] - began, (len(warm) - 1) / (warm[-1] - warm[0]), time.time() - began, losses)


def _print(ours: list[Measured], theirs: list[Measured]) -> None:
    def median(runs: list[Measured], name: str) -> float:
        return statistics.median(getattr(run, name) for run in runs)

    difference = max(abs(a - b) for a, b in zip(ours[0].losses, theirs[0].losses, strict=True))
    print(f"\n{len(ours[0].losses)} steps, medians of {len(ours)} rounds")
    print(f"{'':24}{'TRL script':>14}{'recipe':>14}")
    for name, text in (("first_step", "first step ended, s"), ("steps_per_second", "steps/s"), ("total", "whole, s")):
        print(f"{text:24}{median(theirs, name):14.3f}{median(ours, name):14.3f}")
    print(f"first and last loss     {theirs[0].losses[0]:7.4f}{theirs[0].losses[-1]:7.4f}"
          f"{ours[0].losses[0]:7.4f}{ours[0].losses[-1]:7.4f}")  # fmt: skip
    print(f"largest difference of a loss: {difference:.2e}")
    print(f"steps/s, recipe to script: {median(ours, 'steps_per_second') / median(theirs, 'steps_per_second'):.3f}")
    print(f"start-up, recipe minus script: {median(ours, 'first_step') - median(theirs, 'first_step'):+.2f} s")


if __name__ == "__main__":
    main()
