"""The run in which a recipe works: whose it is, where its results lie, who takes part, what earlier runs resolved."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from finetune_api.trainer_contract import RunRecord, TrainerConfig
from finetune_api.v1alpha1.defaults import resolve
from finetune_api.v1alpha1.hyperparameters import Hyperparameters
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.tuning import Tuning

from ..completion import resumes, start_afresh
from ..fencing import RunClaim
from ..progress import Progress, TrainLog
from ..rank import Rank
from ..results import Results, has_begun_afresh
from ..world import World


@dataclass(frozen=True)
class Run:
    """What all stages of a recipe share."""

    rank: Rank
    config: TrainerConfig
    """With every default filled in."""
    results: Results
    claim: RunClaim
    progress: Progress
    world: World
    earlier: RunRecord | None
    """What the first attempt resolved; None in that one itself."""
    began: float
    """Monotonic seconds."""

    @property
    def spec(self) -> FineTuneJobSpec:
        return self.config.spec

    @property
    def hyper(self) -> Hyperparameters:
        return self.spec.hyperparameters or Hyperparameters()

    @property
    def tuning(self) -> Tuning:
        return self.spec.tuning or Tuning()

    @property
    def full(self) -> bool:
        """Whether all weights learn, and no adapter."""
        return self.tuning.type == "Full"

    @property
    def seed(self) -> int:
        return self.hyper.seed or 0


def begin(rank: Rank) -> Run:
    """Meets the other ranks in the directory of the results. Raises FencedOff, DeviceUnavailable, ConnectionError."""
    began = time.monotonic()
    config = rank.config.model_copy(update={"spec": resolve(rank.config.spec).spec})
    results, progress = Results.of(config), Progress(rank)
    claim = RunClaim(results, rank.run)
    if rank.leads:
        claim.check()
        results.create()
        logging.getLogger().addHandler(TrainLog(results, claim))
        if not resumes(config) and not has_begun_afresh(results, rank.run, config.job.uid):
            start_afresh(results, claim)
    world = World.open(rank)
    asks_for_devices = config.spec.compute and config.spec.compute.gpus_per_node
    if world.device.type == "cpu" and config.world.device == "Auto" and asks_for_devices:
        progress.warn("The job asks for GPUs and there is none here: it trains on the CPU.")
    earlier = world.from_leader(results.read_run_record() if rank.leads else None)
    rank.heartbeat()
    return Run(rank, config, results, claim, progress, world, earlier, began)
