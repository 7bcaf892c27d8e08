"""The training loop of a run, with everything that plugs into it: built, and run to its end or to an interruption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers.trainer_callback import DefaultFlowCallback, PrinterCallback

from ..arguments import training_arguments
from ..batches import Collator, PackedCollator
from ..callbacks.flow import Flow
from ..errors import Interrupted
from ..models.precision import autocast_type
from ..progress import Journal
from ..saving import CheckpointWriter, Keeping
from ..trainer import RecipeTrainer
from .learner import Learner
from .material import Material
from .plan import Plan
from .run import Run


@dataclass(frozen=True)
class Loop:
    """A trainer, what steers it, what saves it, and what writes its figures down."""

    trainer: RecipeTrainer
    flow: Flow
    writer: CheckpointWriter
    journal: Journal | None
    """Rank 0's."""


def build_loop(run: Run, material: Material, learner: Learner, plan: Plan) -> Loop:
    """Puts the pieces together; nothing is trained yet. Raises UserError, FencedOff."""
    journal = None
    if run.rank.leads:
        board = run.spec.tracking is None or run.spec.tracking.tensor_board is not False
        journal = Journal(run.results, run.claim, plan.from_step, tensor_board=board)
    writer = CheckpointWriter(run.rank, run.world, run.results, run.progress, _keeping(run, plan))
    run.progress.checkpoints(writer.state())
    run.progress.update(now=True, step=plan.from_step, from_step=plan.from_step)
    flow = Flow(run.rank, run.world, plan.schedule, writer, run.progress, journal, plan.early_stop, plan.metric.name)
    trainer = _trainer(run, material, learner, plan, writer, flow)
    return Loop(trainer, flow, writer, journal)


def go(run: Run, plan: Plan, loop: Loop) -> Any:
    """Trains what is left of the plan. Returns transformers' TrainerState at its end. Raises Interrupted where the
    ranks agreed to stop before."""
    flow, trainer, state = loop.flow, loop.trainer, plan.state
    evaluation = run.spec.evaluation
    with run.rank.interruption.deferred():
        if plan.newest is None and evaluation is not None and evaluation.compare_with_base:
            flow.measure_base()
        if plan.newest is not None and not flow.interrupted:
            trainer.load_weights(plan.newest)
            flow.catch_up(state)
        done = plan.from_step >= plan.schedule.total_steps or flow.stopped_early or flow.interrupted
        if not done:
            run.progress.stage("Training")
            trainer.train(resume_from_checkpoint=str(plan.newest) if plan.newest else None)
            state = trainer.state
        loop.writer.settle()
        run.world.settle()
    if loop.journal is not None:
        loop.journal.close()
    if flow.interrupted:
        run.world.wait_for_all()
        raise Interrupted(_how_interrupted(loop.writer, state.global_step, plan.from_step))
    return state


def _keeping(run: Run, plan: Plan) -> Keeping:
    wanted = run.spec.checkpoint
    return Keeping(
        keep=(wanted and wanted.keep) or 2, keep_best=bool(wanted and wanted.keep_best),
        metric=plan.metric.name, greater_is_better=plan.metric.greater_is_better,
    )  # fmt: skip


def _trainer(
    run: Run, material: Material, learner: Learner, plan: Plan, writer: CheckpointWriter, flow: Flow
) -> RecipeTrainer:
    settings, device, data = learner.settings, run.world.device, material.data
    measured = (run.spec.evaluation and run.spec.evaluation.metrics) or []
    padded_to = 8 if device.type == "cuda" else 1
    trainer = RecipeTrainer(
        world=run.world, settings=settings, order=plan.order, writer=writer, heartbeat=run.rank.heartbeat,
        collator=PackedCollator() if settings.packing else Collator(material.tokenizer.pad_token_id, padded_to),
        autocast=autocast_type(settings.precision),
        with_perplexity="Perplexity" in measured or plan.metric.name == "eval_perplexity",
        model=learner.model,
        args=training_arguments(run.hyper, settings, run.results, device, plan.schedule.total_steps),
        train_dataset=data.train, eval_dataset=data.validation, processing_class=material.tokenizer,
        callbacks=[flow],
    )  # fmt: skip
    trainer.remove_callback(DefaultFlowCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.stop_agreed = flow.stop_agreed
    flow.trainer = trainer
    return trainer


def _how_interrupted(writer: CheckpointWriter, step: int, from_step: int) -> str:
    if writer.last_step == step:
        return f"SIGTERM at step {step}: a checkpoint was written."
    if step == from_step:
        return f"SIGTERM at step {step}: nothing new to save."
    return f"SIGTERM at step {step}: no checkpoint could be written."
