"""Supervised fine-tuning, from the configuration to the finished output, read from top to bottom."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..rank import Rank
from .run import Run, begin

if TYPE_CHECKING:
    from .loop import Loop
    from .material import Material
    from .plan import Plan


def train(rank: Rank) -> dict[str, Any]:
    """Trains, and returns the fields of the record of a finished attempt. Raises what failures.py knows.

    Each stage's libraries are loaded in it: that takes seconds, and is to be seen as what it is for.
    """
    run = begin(rank)

    run.progress.stage("LoadingData")
    from .material import read_material

    material = read_material(run)

    run.progress.stage("LoadingModel")
    from .learner import load_learner

    learner = load_learner(run, material)

    from .loop import build_loop, go
    from .plan import make_plan

    plan = make_plan(run, material, learner)
    loop = build_loop(run, material, learner, plan)
    state = go(run, plan, loop)

    run.progress.stage("Finishing")
    details = _write(run, material, plan, loop, state) if rank.leads else {}
    run.world.wait_for_all()
    run.world.close()
    return details


def _write(run: Run, material: Material, plan: Plan, loop: Loop, state: Any) -> dict[str, Any]:
    """Writes the output; the fields of the record that follow from it. Rank 0 only."""
    from ..output import write_output

    assert loop.journal is not None, "rank 0 has one"
    return write_output(
        trainer=loop.trainer, tokenizer=material.tokenizer, config=run.config, results=run.results, rank=run.rank,
        journal=loop.journal, progress=run.progress, state=state, adapter=not run.full,
        early_stopped=loop.flow.stopped_early, data=material.data, base=material.source,
        seconds=time.monotonic() - run.began, metric=plan.metric, rewind=plan.rewind,
    )  # fmt: skip
