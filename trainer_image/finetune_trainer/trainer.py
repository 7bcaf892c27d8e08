"""Transformers' training loop with our own batches, evaluation and checkpoints in the places it has for them.

When to log, evaluate, save and stop is decided in callbacks/flow.py; this only does it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME

from .batches import BatchOrder, Collator, PackedCollator, evaluation_batches, tokens_in, train_loader
from .evaluation import mean_loss, perplexity
from .saving import CheckpointWriter
from .settings import Settings
from .world import World

logger = logging.getLogger(__name__)


def _numbers(group: dict[str, Any]) -> dict[str, Any]:
    """What a person wrote for a group of parameters; the rate is the schedule's."""
    return {name: value for name, value in group.items() if name not in ("params", "lr")}


class RecipeTrainer(Trainer):
    """A Trainer whose data order, evaluation loss and checkpoints are exact."""

    def __init__(
        self,
        *,
        world: World,
        settings: Settings,
        order: BatchOrder,
        collator: Collator | PackedCollator,
        writer: CheckpointWriter,
        autocast: torch.dtype | None,
        with_perplexity: bool,
        heartbeat: Callable[[int], None],
        **trainer: Any,
    ) -> None:
        self._world = world
        self._settings = settings
        self._order = order
        self._collator = collator
        self._writer = writer
        self._autocast = autocast
        self._with_perplexity = with_perplexity
        self._heartbeat = heartbeat
        self.stop_agreed: Callable[[], bool] = lambda: False
        """Asked after every evaluation batch; set by the flow."""
        self.tokens_seen = 0
        """Tokens of this rank in this run, padding left out."""
        super().__init__(data_collator=collator, **trainer)
        writer.expected_bytes = self._bytes_of_checkpoint
        held_out = self.eval_dataset
        self._evaluation = None
        if held_out is not None:
            rows = settings.split.per_device
            self._evaluation = evaluation_batches(held_out, collator, rows, world.rank, world.size)
            # Rank 0 has the most rows.
            self._evaluation_rounds = world.from_leader(len(self._evaluation))

    def get_train_dataloader(self) -> DataLoader[Any]:
        return train_loader(
            self.train_dataset,
            self._order,
            self._collator,
            self._settings.data_loader_workers,
            pin=self._world.device.type == "cuda",
        )

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        # Counted here, where the batch is still on the host.
        self.tokens_seen += sum(tokens_in(batch) for batch in batches)
        return batches, items

    def training_step(self, *arguments: Any, **named: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*arguments, **named)
        self._heartbeat(1)
        return loss

    def measure(self) -> dict[str, float]:
        """The loss on the validation rows and what follows from it; empty where there are none. Raises
        EvaluationAbandoned."""
        if self._evaluation is None:
            return {}
        loss = mean_loss(
            self.model,
            self._evaluation,
            self._world,
            autocast=self._autocast,
            stop=self.stop_agreed,
            heartbeat=self._heartbeat,
            rounds=self._evaluation_rounds,
        )
        metrics = {"eval_loss": loss}
        value = perplexity(loss)
        if self._with_perplexity and value is not None:
            metrics["eval_perplexity"] = value
        return metrics

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._writer.write(self.state.global_step, self._write_files, last=self.control.should_training_stop)

    def _bytes_of_checkpoint(self) -> int:
        """About how large this rank's files will be: its weights that learn, and the state of their optimizer."""
        if not self.args.should_save:
            return 2**20  # the state of its random numbers
        model: Any = self.model
        optimizer: Any = self.optimizer
        adapter = hasattr(model, "peft_config")
        weights = [p for p in model.parameters() if p.requires_grad or not adapter]
        moments = [m for state in optimizer.state.values() for m in state.values() if isinstance(m, torch.Tensor)]
        return sum(tensor.nbytes for tensor in (*weights, *moments))

    def _write_files(self, directory: Path) -> None:
        """Every rank's files of a checkpoint, as Trainer reads them again."""
        self.save_model(str(directory), _internal_call=True)
        self._save_optimizer_and_scheduler(str(directory))
        self._save_scaler(str(directory))
        self._save_rng_state(str(directory))
        if self.args.should_save:
            self.state.save_to_json(str(directory / TRAINER_STATE_NAME))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The state of both, under this job's own numbers: a branch may have others than the job it started from."""
        groups: list[dict[str, Any]] = getattr(self.optimizer, "param_groups", [])
        own = [_numbers(group) for group in groups]
        rates = list(getattr(self.lr_scheduler, "base_lrs", ()))
        super()._load_optimizer_and_scheduler(checkpoint)
        groups = getattr(self.optimizer, "param_groups", [])
        for group, numbers in zip(groups, own, strict=True):
            group.update(numbers)
        scheduler = self.lr_scheduler
        if isinstance(scheduler, LambdaLR):
            step = scheduler.last_epoch
            scheduler.base_lrs = rates
            scheduler._last_lr = [rate * of(step) for rate, of in zip(rates, scheduler.lr_lambdas, strict=True)]
            for group, rate in zip(groups, scheduler._last_lr, strict=True):
                group["lr"] = rate

    def load_weights(self, directory: Path) -> None:
        """Takes over the weights of a checkpoint, nothing else."""
        self._load_from_checkpoint(str(directory))
