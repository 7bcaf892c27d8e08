"""Real tiny jobs under random harm: all must succeed with the losses of the undisturbed run of the same seed.

Run: python -m tests.benchmarks.chaos_soak [--minutes 30] [--jobs 50] [--at-once 2] [--seed 1] [--keep DIR]
Each job is a `finetune run` with the real supervisor and ranks, on this machine. At least --jobs jobs are run, and for
at least --minutes; what is done to which job follows from --seed. Exit code 0 only where all came through.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from tests.benchmarks.chaos_jobs import RECIPES, STEPS, Outcome, Recipe, SoakJob, plan, recipe_of
from tests.benchmarks.chaos_kinds import KINDS
from tests.trainer.workplace import make_inputs


class Soak:
    """Runs the jobs, a few at a time, and compares each with the undisturbed run of its recipe."""

    def __init__(self, root: Path, seed: int, at_once: int) -> None:
        self.root, self.seed, self.at_once = root, seed, at_once
        self.done: list[Outcome] = []
        self.differences: list[float] = []
        self.stopping = threading.Event()
        self._undisturbed: dict[Recipe, Outcome] = {}
        make_inputs(root)

    def prepare(self, recipes: set[Recipe]) -> None:
        """The undisturbed runs, one a recipe."""
        with ThreadPoolExecutor(self.at_once) as threads:
            for outcome in threads.map(self._undisturb, sorted(recipes, key=str)):
                if outcome.wrong:
                    raise SystemExit(f"an undisturbed run failed: {outcome.wrong}")
                self._undisturbed[outcome.recipe] = outcome
                print(
                    f"undisturbed, seed {outcome.recipe.seed}, {outcome.recipe.nodes} node(s): {outcome.seconds:.0f} s",
                    flush=True,
                )

    def run(self, jobs: int, minutes: float) -> None:
        """Blocks until enough jobs were run for long enough, or `stopping` is set."""
        began, number = time.monotonic(), 0
        with ThreadPoolExecutor(self.at_once) as threads:
            waiting: set[Future[Outcome]] = set()
            while waiting or number == 0:
                while len(waiting) < self.at_once and not self.stopping.is_set():
                    if number >= jobs and time.monotonic() - began > minutes * 60:
                        break
                    waiting.add(threads.submit(self._disturb, number))
                    number += 1
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ended:
                    self._take(future.result())

    def _undisturb(self, recipe: Recipe) -> Outcome:
        root = self.root / f"undisturbed-{recipe.seed}-{recipe.nodes}"
        return SoakJob(root, self.root, -1, recipe, [], self.seed).run()

    def _disturb(self, number: int) -> Outcome:
        root = self.root / f"job-{number:03}"
        job = SoakJob(root, self.root, number, recipe_of(number), plan(self.seed, number), self.seed)
        outcome = job.run()
        self.differences.append(outcome.compare(self._undisturbed[outcome.recipe]))
        if not outcome.wrong:
            job.forget()
        return outcome

    def _take(self, outcome: Outcome) -> None:
        self.done.append(outcome)
        kinds = ", ".join(outcome.landed) or "nothing"
        print(
            f"job {outcome.number}: {outcome.phase} after {outcome.attempts} attempts, {outcome.runs} runs, "
            f"{outcome.seconds:.0f} s; {kinds}{'; WRONG: ' + outcome.wrong if outcome.wrong else ''}",
            flush=True,
        )


def table(soak: Soak, seconds: float) -> str:
    """The result as a table for docs."""
    done = soak.done
    landed = Counter(kind for outcome in done for kind in outcome.landed)
    attempts = Counter(outcome.attempts for outcome in done)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    rows = [
        ("jobs, of which with two nodes", f"{len(done)}, {sum(outcome.recipe.nodes > 1 for outcome in done)}"),
        ("succeeded", str(sum(outcome.phase == "Succeeded" for outcome in done))),
        ("with every step once and the right losses", str(sum(not outcome.wrong for outcome in done))),
        (f"largest difference of any of the {STEPS} losses", f"{max(soak.differences, default=0.0):.3g}"),
        *((kind, str(landed[kind])) for kind in KINDS),
        ("harms in all; too late, besides", f"{landed.total()}; {sum(len(outcome.missed) for outcome in done)}"),
        ("attempts", ", ".join(f"{count} x {number}" for number, count in sorted(attempts.items()))),
        ("starts of finetune run", str(sum(outcome.runs for outcome in done))),
        ("time", f"{seconds / 60:.1f} min, {soak.at_once} at once on {os.cpu_count()} cores"),
        ("CPU", f"{(used.ru_utime + used.ru_stime) / 60:.1f} min"),
    ]
    lines = [f"| chaos soak, seed {soak.seed} | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="where jobs that went wrong are kept; a new directory if not given")
    given = parser.parse_args()
    root = given.keep or Path(tempfile.mkdtemp(prefix="chaos-soak-"))
    root.mkdir(parents=True, exist_ok=True)
    soak = Soak(root.resolve(), given.seed, given.at_once)
    signal.signal(signal.SIGTERM, lambda *_: soak.stopping.set())
    began = time.monotonic()
    soak.prepare({recipe_of(number) for number in range(RECIPES)})
    soak.run(given.jobs, given.minutes)
    print(table(soak, time.monotonic() - began))
    wrong = [outcome for outcome in soak.done if outcome.wrong]
    for outcome in wrong:
        print(f"job {outcome.number} ({root}/job-{outcome.number:03}): {outcome.wrong}")
    return 1 if wrong or len(soak.done) < given.jobs else 0


if __name__ == "__main__":
    sys.exit(main())
