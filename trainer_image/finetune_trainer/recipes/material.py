"""What a run learns from: the model's directory or id, its tokenizer, and the tokenised rows. No weights yet."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from ..data import PreparedData, prepare
from ..errors import ConfigError
from ..models.loading import load_config, load_tokenizer, sequence_limit
from ..models.source import ModelSource, locate
from .run import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """Rows, and what is needed to read them."""

    source: ModelSource
    tokenizer: Any
    model_config: Any
    """As transformers loads it."""
    data: PreparedData


def read_material(run: Run) -> Material:
    """Finds the model, and prepares the rows for it. Raises UserError, also where the rows are others than those of the
    first attempt."""
    rank, earlier = run.rank, run.earlier
    source = locate(run.config, earlier)
    tokenizer = load_tokenizer(source)
    model_config = load_config(source)
    data = prepare(
        run.config, tokenizer,
        maximum_length=sequence_limit(run.hyper.max_sequence_length or 2048, model_config, tokenizer),
        heartbeat=rank.heartbeat, waiting=rank.heartbeat.waiting, run=run.world.from_leader(rank.run),
        revisions=earlier.revisions if earlier else None,
    )  # fmt: skip
    for warning in data.warnings:
        run.progress.warn(warning)
    if earlier is not None and earlier.data_fingerprint != data.fingerprint:
        raise ConfigError(
            "The data has changed since the first attempt of this job: its checkpoints belong to other rows.",
            "Put the old data back, or set checkpoint.resume to Never to train afresh on the new data.",
        )
    if rank.leads:
        logger.info("One example as the model sees it («learnt»):\n%s", data.sample)
    return Material(source, tokenizer, model_config, data)
