"""One job of the chaos soak: its manifest, what is done to it and when, and whether its losses came out right."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune_cli.errors import Exit
from tests.benchmarks.chaos_kinds import KINDS, Victim
from tests.trainer.workplace import Workplace

STEPS = 40
CHECKPOINT_EVERY = 4
SEEDS = 3
RECIPES = SEEDS * 5
"""Jobs whose numbers differ by this have the same recipe."""
LARGEST_DIFFERENCE = 1e-6
HANG_SECONDS = 45
PATIENCE_SECONDS = 900.0
"""A job that has not ended by then is a finding, with its directory kept."""
_EVERY_SECONDS = 0.1


@dataclass(frozen=True)
class Recipe:
    """What is learnt; jobs of the same recipe must have the same losses."""

    seed: int
    nodes: int

    def spec(self) -> dict[str, Any]:
        return {
            "hyperparameters": {
                "maxSteps": STEPS, "maxSequenceLength": 64, "gradientCheckpointing": False, "seed": self.seed,
            },
            "compute": {"gpusPerNode": 0, "nodes": self.nodes},
            "checkpoint": {"everySteps": CHECKPOINT_EVERY, "keep": 3},
            "evaluation": {"everySteps": STEPS},
            "retryPolicy": {"backoffSeconds": 0, "maxRetries": 20, "hangTimeoutSeconds": HANG_SECONDS},
        }  # fmt: skip


@dataclass(frozen=True)
class Harm:
    """A kind and when: once so many steps were trained, or so many seconds after the start."""

    kind: str
    step: int | None = None
    seconds: float = 0.0


def recipe_of(number: int) -> Recipe:
    """Every fifth job has two nodes."""
    return Recipe(seed=number % SEEDS, nodes=2 if number % 5 == 4 else 1)


def plan(seed: int, number: int) -> list[Harm]:
    """One to three harms, the same for the same seed; the first is of each kind in turn, so that none is left out."""
    draw = random.Random(f"{seed}/{number}")
    kinds = list(KINDS)
    first = kinds[number % len(kinds)]
    chosen = [first, *draw.choices(kinds, k=draw.randint(0, 2))]
    made = []
    for kind in chosen:
        early = draw.random() < 0.2 and kind not in ("newest checkpoint truncated", "SIGSTOP of a rank")
        made.append(Harm(kind, seconds=draw.uniform(0.3, 4.0)) if early else Harm(kind, draw.randint(1, STEPS - 4)))
    return sorted(made, key=lambda harm: harm.step or 0)


@dataclass
class Outcome:
    """How a job came through."""

    number: int
    recipe: Recipe
    phase: str = ""
    attempts: int = 0
    runs: int = 1
    seconds: float = 0.0
    landed: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)
    evaluation: float | None = None
    warnings: list[str] = field(default_factory=list)
    wrong: str = ""
    """What is not as it should be; empty where all is."""

    def compare(self, undisturbed: Outcome) -> float:
        """The largest difference of any loss to the undisturbed run; notes what is wrong."""
        if self.wrong:
            return 0.0
        if [step for step, _ in self.losses] != [step for step, _ in undisturbed.losses]:
            self.wrong = f"steps {[step for step, _ in self.losses]} are not 1 to {STEPS}, each once"
            return 0.0
        pairs = [(mine, theirs) for (_, mine), (_, theirs) in zip(self.losses, undisturbed.losses, strict=True)]
        pairs.append((self.evaluation or 0.0, undisturbed.evaluation or 0.0))
        largest = max(abs(mine - theirs) for mine, theirs in pairs)
        if largest > LARGEST_DIFFERENCE:
            self.wrong = f"a loss differs by {largest:.3g} from the undisturbed run's"
        return largest


class SoakJob:
    """Runs one job to its end, harms it on the way, and starts `finetune run` again where that was killed."""

    def __init__(self, root: Path, inputs: Path, number: int, recipe: Recipe, harms: list[Harm], seed: int) -> None:
        self.outcome = Outcome(number, recipe)
        self._place = Workplace(root, "soak", inputs)
        self._harms = list(harms)
        self._draw = random.Random(f"{seed}/{number}/ranks")
        self._log = root / "said.log"

    def run(self) -> Outcome:
        """Blocks until the job has ended, or for PATIENCE_SECONDS."""
        self._place.root.mkdir(parents=True)
        self._place.write(**self.outcome.recipe.spec())
        began = time.monotonic()
        process = self._start()
        try:
            while process.poll() is None or self._again(process):
                if process.poll() is not None:
                    self.outcome.runs += 1
                    process = self._start()
                if time.monotonic() - began > PATIENCE_SECONDS:
                    self.outcome.wrong = f"not ended after {PATIENCE_SECONDS:.0f} s"
                    break
                self._harm(Victim(self._place, process, self._draw), time.monotonic() - began)
                time.sleep(_EVERY_SECONDS)
        finally:
            for pid in [process.pid, *self._place.trainers()]:
                subprocess.run(["kill", "-9", str(pid)], stderr=subprocess.DEVNULL, check=False)
            process.wait()
        self.outcome.seconds = time.monotonic() - began
        self._look()
        return self.outcome

    def _start(self) -> subprocess.Popen[str]:
        return self._place.start(self._log)

    def _again(self, process: subprocess.Popen[str]) -> bool:
        """Whether the run was killed or interrupted, so that a person would start it again."""
        return process.returncode in (-9, int(Exit.INTERRUPTED))

    def _harm(self, victim: Victim, elapsed: float) -> None:
        if not self._harms:
            return
        harm, step = self._harms[0], max(self._place.steps(), default=0)
        if elapsed < harm.seconds or (harm.step is not None and step < harm.step):
            return
        if KINDS[harm.kind](victim):
            self.outcome.landed.append(harm.kind)
        elif step < STEPS:
            return  # between two attempts: tried again at the next look
        else:
            self.outcome.missed.append(harm.kind)
        self._harms.pop(0)

    def _look(self) -> None:
        """Takes from the workplace what came of the job."""
        outcome = self.outcome
        outcome.missed += [harm.kind for harm in self._harms]
        status = self._place.job.get("status") or {}
        outcome.phase, outcome.attempts = status.get("phase", ""), status.get("attempt", 0)
        outcome.losses = self._place.losses()
        outcome.evaluation = (status.get("metrics") or {}).get("eval_loss")
        outcome.warnings = status.get("warnings") or []
        if not outcome.wrong and outcome.phase != "Succeeded":
            outcome.wrong = f"{outcome.phase}: {(status.get('failure') or {}).get('message') or status.get('failure')}"

    def forget(self) -> None:
        """Removes the directory of a job that came through."""
        shutil.rmtree(self._place.root)
