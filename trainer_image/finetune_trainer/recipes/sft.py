"""Supervised fine-tuning, from the configuration to the finished output, read from top to bottom."""

from __future__ import annotations

import logging
import time
from typing import Any

from finetune_api.trainer_contract import RunRecord
from finetune_api.v1alpha1.defaults import resolve
from finetune_api.v1alpha1.hyperparameters import Hyperparameters
from finetune_api.v1alpha1.tuning import Tuning

from ..branch import take_over
from ..completion import resumes, start_afresh
from ..errors import ConfigError, Interrupted
from ..fencing import RunClaim
from ..heartbeats import beat_while_moving, data_moved
from ..progress import Journal, Progress, TrainLog
from ..rank import Rank
from ..results import Results, has_begun_afresh
from ..world import World

logger = logging.getLogger(__name__)


def train(rank: Rank) -> dict[str, Any]:
    """Trains, and returns the fields of the record of a finished attempt. Raises what failures.py knows."""
    began = time.monotonic()
    config = rank.config.model_copy(update={"spec": resolve(rank.config.spec).spec})
    spec = config.spec
    hyper, tuning = spec.hyperparameters or Hyperparameters(), spec.tuning or Tuning()
    seed = hyper.seed or 0
    results = Results.of(config)
    progress = Progress(rank)
    claim = RunClaim(results, rank.run)
    if rank.leads:
        claim.check()
        results.create()
        logging.getLogger().addHandler(TrainLog(results, claim))
        if not resumes(config) and not has_begun_afresh(results, rank.run, config.job.uid):
            start_afresh(results, claim)
    world = World.open(rank)
    if world.device.type == "cpu" and config.world.device == "Auto" and (spec.compute and spec.compute.gpus_per_node):
        progress.warn("The job asks for GPUs and there is none here: it trains on the CPU.")
    earlier: RunRecord | None = world.from_leader(results.read_run_record() if rank.leads else None)
    rank.heartbeat()

    # What it learns from.
    progress.stage("LoadingData")
    from ..data import prepare
    from ..models.loading import check_vocabulary, load_config, load_model, load_tokenizer, sequence_limit
    from ..models.source import locate

    source = locate(config, earlier)
    tokenizer = load_tokenizer(source)
    model_config = load_config(source)
    longest = sequence_limit(hyper.max_sequence_length or 2048, model_config, tokenizer)
    data = prepare(
        config, tokenizer, maximum_length=longest, heartbeat=rank.heartbeat, waiting=rank.heartbeat.waiting,
        run=world.from_leader(rank.run),
        revisions=earlier.revisions if earlier else None,
    )  # fmt: skip
    for warning in data.warnings:
        progress.warn(warning)
    if earlier is not None and earlier.data_fingerprint != data.fingerprint:
        raise ConfigError(
            "The data has changed since the first attempt of this job: its checkpoints belong to other rows.",
            "Put the old data back, or set checkpoint.resume to Never to train afresh on the new data.",
        )
    if rank.leads:
        logger.info("One example as the model sees it («learnt»):\n%s", data.sample)

    # What learns.
    progress.stage("LoadingModel")
    from ..models.adapter import attach, parameters
    from ..models.precision import autocast_type, weight_type
    from ..settings import effective_of, resolve_settings

    full = tuning.type == "Full"
    if not full and not source.has_weights:
        raise ConfigError(f"{source.said} has no weights, and an adapter cannot learn alone.", "Set tuning.type: Full.")
    settings = resolve_settings(config, world.device, rank.world_size, earlier)
    with beat_while_moving(data_moved, rank.heartbeat):
        model = load_model(
            source, model_config, dtype=weight_type(settings.precision, full=full),
            attention=settings.attention, seed=seed, warn=progress.warn,
        )  # fmt: skip
    check_vocabulary(model, tokenizer, source)
    model = attach(model, tuning, seed=seed, upon=source.lineage if source.adapters else None)
    rank.heartbeat()

    # In which order, and how often something happens.
    from ..batches import BatchOrder, Collator, PackedCollator, lengths_of
    from ..schedule import resolve_schedule

    order = BatchOrder(lengths_of(data.train), settings.split, rank.number, seed, like_length=True)
    schedule, early_stop, metric = resolve_schedule(
        spec, rows=len(data.train), effective_batch=settings.split.effective, measures=data.validation is not None
    )
    effective = effective_of(
        config, settings, model=source.lineage, device=world.device,
        parameters=parameters(model),
    )  # fmt: skip
    progress.effective(effective)
    progress.update(now=True, total_steps=schedule.total_steps)
    record = earlier
    if rank.leads and record is None:
        from ..report import library_versions

        revisions = {**data.revisions, **({source.name: model_config._commit_hash} if source.is_hub else {})}
        revisions |= {f"job {name}": digest for name, digest in config.digests.items()}
        record = RunRecord(
            fingerprint=config.fingerprint, spec=spec, effective=effective, data_fingerprint=data.fingerprint,
            revisions=revisions, versions=library_versions(), image=config.image,
        )  # fmt: skip
        claim.write(results.run_record, record.model_dump_json(by_alias=True, exclude_none=True, indent=1))

    # Where it continues.
    if rank.leads:
        take_over(config, results, claim, schedule.total_steps, rank.heartbeat)
    from transformers import TrainerState
    from transformers.trainer import TRAINER_STATE_NAME

    from ..rewind import resume_point

    newest, rewind = None, None
    if record is not None and rank.leads:
        # After start_afresh there is nothing to be found.
        found, rewind = resume_point(config, record, results, claim, progress.warn, rank.heartbeat)
        newest = found.path if found else None
    newest, rewind = world.from_leader((newest, rewind))
    if rewind is not None:
        order.pass_over(rewind.to_step, rewind.diverged_at)
    state = TrainerState.load_from_json(str(newest / TRAINER_STATE_NAME)) if newest else TrainerState()
    from_step = state.global_step
    if newest:
        logger.info("Continuing from %s", newest.name)
    evaluation = spec.evaluation
    journal = None
    if rank.leads:
        board = spec.tracking is None or spec.tracking.tensor_board is not False
        journal = Journal(results, claim, from_step, tensor_board=board)

    # The loop.
    from transformers.trainer_callback import DefaultFlowCallback, PrinterCallback

    from ..arguments import training_arguments
    from ..callbacks.flow import Flow
    from ..saving import CheckpointWriter, Keeping
    from ..trainer import RecipeTrainer

    keeping = spec.checkpoint
    writer = CheckpointWriter(
        rank, world, results, progress,
        Keeping(
            keep=(keeping and keeping.keep) or 2, keep_best=bool(keeping and keeping.keep_best),
            metric=metric.name, greater_is_better=metric.greater_is_better,
        ),
    )  # fmt: skip
    progress.checkpoints(writer.state())
    progress.update(now=True, step=from_step, from_step=from_step)
    flow = Flow(rank, world, schedule, writer, progress, journal, early_stop, metric.name)
    padded_to = 8 if world.device.type == "cuda" else 1
    trainer = RecipeTrainer(
        world=world, settings=settings, order=order, writer=writer, heartbeat=rank.heartbeat,
        collator=PackedCollator() if settings.packing else Collator(tokenizer.pad_token_id, padded_to),
        autocast=autocast_type(settings.precision),
        with_perplexity="Perplexity" in ((evaluation and evaluation.metrics) or []) or metric.name == "eval_perplexity",
        model=model, args=training_arguments(hyper, settings, results, world.device, schedule.total_steps),
        train_dataset=data.train, eval_dataset=data.validation, processing_class=tokenizer,
        callbacks=[flow],
    )  # fmt: skip
    trainer.remove_callback(DefaultFlowCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.stop_agreed = flow.stop_agreed
    flow.trainer = trainer
    with rank.interruption.deferred():
        if newest is None and evaluation is not None and evaluation.compare_with_base:
            flow.measure_base()
        if newest is not None and not flow.interrupted:
            trainer.load_weights(newest)
            flow.catch_up(state)
        done = from_step >= schedule.total_steps or flow.stopped_early or flow.interrupted
        if not done:
            progress.stage("Training")
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
            state = trainer.state
        writer.settle()
        world.settle()
    if flow.interrupted:
        if journal is not None:
            journal.close()
        world.wait_for_all()
        raise Interrupted(_how_interrupted(writer, state.global_step, from_step))

    # What comes out of it.
    progress.stage("Finishing")
    from ..output import write_output

    details: dict[str, Any] = {}
    if rank.leads and journal is not None:
        journal.close()
        details = write_output(
            trainer=trainer, tokenizer=tokenizer, config=config, results=results, rank=rank, journal=journal,
            progress=progress, state=state, adapter=not full, early_stopped=flow.stopped_early, data=data,
            base=source, seconds=time.monotonic() - began, metric=metric, rewind=rewind,
        )  # fmt: skip
    world.wait_for_all()
    world.close()
    return details


def _how_interrupted(writer: Any, step: int, from_step: int) -> str:
    if writer.last_step == step:
        return f"SIGTERM at step {step}: a checkpoint was written."
    if step == from_step:
        return f"SIGTERM at step {step}: nothing new to save."
    return f"SIGTERM at step {step}: no checkpoint could be written."
