"""In which order rows are learnt from, how often something happens, and from where a run goes on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from finetune_api.trainer_contract import Rewind, RunRecord

from ..batches import BatchOrder, lengths_of
from ..branch import take_over
from ..callbacks.flow import Schedule
from ..callbacks.stopping import EarlyStop
from ..report import library_versions
from ..rewind import resume_point
from ..schedule import Metric, resolve_schedule
from .learner import Learner
from .material import Material
from .run import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """The steps of the whole job, and the part of them that is left."""

    order: BatchOrder
    schedule: Schedule
    early_stop: EarlyStop | None
    metric: Metric
    newest: Path | None
    """The checkpoint from which the run goes on; None is the beginning."""
    state: Any
    """transformers' TrainerState at that point."""
    rewind: Rewind | None
    """The divergence that the job went back before."""

    @property
    def from_step(self) -> int:
        step: int = self.state.global_step
        return step


def make_plan(run: Run, material: Material, learner: Learner) -> Plan:
    """Rank 0 keeps what the first attempt resolved, and finds the checkpoint. Raises UserError, FencedOff, OSError."""
    data, split = material.data, learner.settings.split
    order = BatchOrder(lengths_of(data.train), split, run.rank.number, run.seed, like_length=True)
    schedule, early_stop, metric = resolve_schedule(
        run.spec, rows=len(data.train), effective_batch=split.effective, measures=data.validation is not None
    )
    run.progress.update(now=True, total_steps=schedule.total_steps)
    newest, rewind = None, None
    if run.rank.leads:
        record = run.earlier or _keep_record(run, material, learner)
        take_over(run.config, run.results, run.claim, schedule.total_steps, run.rank.heartbeat)
        # After start_afresh there is nothing to be found.
        found, rewind = resume_point(run.config, record, run.results, run.claim, run.progress.warn, run.rank.heartbeat)
        newest = found.path if found else None
    newest, rewind = run.world.from_leader((newest, rewind))
    if rewind is not None:
        order.pass_over(rewind.to_step, rewind.diverged_at)
    if newest is not None:
        logger.info("Continuing from %s", newest.name)
    state = TrainerState.load_from_json(str(newest / TRAINER_STATE_NAME)) if newest else TrainerState()
    return Plan(order, schedule, early_stop, metric, newest, state, rewind)


def _keep_record(run: Run, material: Material, learner: Learner) -> RunRecord:
    """Writes run.json, which all later attempts obey."""
    source, data = material.source, material.data
    revisions = {**data.revisions, **({source.name: material.model_config._commit_hash} if source.is_hub else {})}
    revisions |= {f"job {name}": digest for name, digest in run.config.digests.items()}
    record = RunRecord(
        fingerprint=run.config.fingerprint, spec=run.spec, effective=learner.effective,
        data_fingerprint=data.fingerprint, revisions=revisions, versions=library_versions(), image=run.config.image,
    )  # fmt: skip
    run.claim.write(run.results.run_record, record.model_dump_json(by_alias=True, exclude_none=True, indent=1))
    return record
