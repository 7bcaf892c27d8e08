"""How long training stands still for its checkpoints: written at once, and brought to the volume beside the training.

Run by hand: `python -m tests.benchmarks.checkpoint_saving [--rounds 3] [--volume DIR]`. The same full fine-tuning job
alternately in both ways in one run; prints seconds a checkpoint, the whole training, their ratios, and whether both
ways have learnt the same and written the same.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: ranks are forked, and must find no threads

from finetune_api.trainer_contract import Saves
from tests.trainer.attempts import AJob, Ranks
from tests.trainer.tiny_model import make_tiny_model

SAVE_EVERY = 4


@dataclass
class Measured:
    """One run."""

    stall: float
    """Seconds a checkpoint in which training stood still."""
    whole: float
    """Seconds a checkpoint from its step to its manifest."""
    mebibytes: float
    training: float
    """Seconds of the whole process."""
    losses: list[list[float]]
    digests: dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--volume", type=Path, help="where the results go; a temporary directory otherwise")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.volume) as directory:
        base = Path(directory)
        make_tiny_model(base / "models" / "tiny", hidden=384, layers=6)
        at_once, beside = [], []
        for number in range(arguments.rounds):
            at_once.append(_run(base / f"at-once-{number}", base / "models", overlapped=False))
            beside.append(_run(base / f"beside-{number}", base / "models", overlapped=True))
        _print(at_once, beside)


def _run(volume: Path, models: Path, *, overlapped: bool) -> Measured:
    job = AJob.on(volume, models).with_spec(
        tuning={"type": "Full", "rank": None, "dropout": None},
        dataset={"split": {"validation": 0.0}},
        hyperparameters={"epochs": None, "maxSteps": 12, "perDeviceBatchSize": 2, "gradientAccumulationSteps": 1},
        checkpoint={"everySteps": SAVE_EVERY, "keepBest": False},
    )

    figures = volume / "figures"

    def choose_and_note() -> None:
        from finetune_trainer import saving

        saving.CheckpointWriter.__init__.__kwdefaults__["overlapped"] = overlapped
        add = saving._added

        def noted(told: Saves, save: Any) -> Saves:
            with figures.open("a") as file:
                file.write(f"{save.stalled} {save.seconds} {save.bytes}\n")
            return add(told, save)

        saving._added = noted

    began = time.monotonic()
    Ranks(job, before=choose_and_note).finish()
    # Without the last one, which is of the end: there is nothing to go on with beside it.
    saves = [[float(word) for word in line.split()] for line in figures.read_text().splitlines()][:-1]
    stall, whole, size = (statistics.mean(column) for column in zip(*saves, strict=True))
    files = job.manifests()[-1].files
    return Measured(
        stall=stall,
        whole=whole,
        mebibytes=size / 2**20,
        training=time.monotonic() - began,
        losses=job.report()["lossCurve"],
        digests={file.path: file.xxh3 for file in files if not file.path.startswith("training_args")},
    )


def _print(at_once: list[Measured], beside: list[Measured]) -> None:
    print(f"{beside[0].mebibytes:.0f} MiB a checkpoint, one every {SAVE_EVERY} steps; medians of {len(at_once)}")
    print(f"{'':34}{'at once':>10}{'beside':>10}{'ratio':>8}")
    for name, figure in {
        "training stands still, s a save": lambda run: run.stall,
        "until it is complete, s a save": lambda run: run.whole,
        "the whole process, s": lambda run: run.training,
    }.items():
        left, right = (statistics.median(figure(run) for run in runs) for runs in (at_once, beside))
        print(f"{name:34}{left:>10.2f}{right:>10.2f}{right / left:>8.2f}")
    same = all(run.losses == at_once[0].losses and run.digests == at_once[0].digests for run in (*at_once, *beside))
    print("losses and checkpoints of all runs are " + ("the same to the bit" if same else "NOT the same"))


if __name__ == "__main__":
    main()
