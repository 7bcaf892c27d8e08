"""Going back before a loss that was not finite: to which checkpoint, and what becomes of those behind it.

Which rows are passed over follows in batches.py; whether a job goes back at all is the operator's decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from finetune_api.trainer_contract import Rewind, RunRecord, TrainerConfig

from . import checkpoints
from .checkpoints import Checkpoint
from .fencing import RunClaim
from .results import Results


def resume_point(
    config: TrainerConfig, record: RunRecord, results: Results, claim: RunClaim,
    warn: Callable[[str], None], heartbeat: Callable[[int], None],
) -> tuple[Checkpoint | None, Rewind | None]:  # fmt: skip
    """The checkpoint from which this run goes on (None is the beginning), and what the job went back before.

    Rank 0 only. Raises FencedOff or OSError.
    """
    rewind = record.rewind
    if config.diverged_at is not None and (rewind is None or rewind.diverged_at != config.diverged_at):
        _discard(results, claim, lambda checkpoint: checkpoint.step >= (config.diverged_at or 0))
        found = _newest_finite(results, claim, warn, heartbeat)
        rewind = Rewind(diverged_at=config.diverged_at, to_step=found.step if found else 0, run=claim.number)
        # Before the first step: a run that is killed in between chooses the same.
        document = record.model_copy(update={"rewind": rewind})
        claim.write(results.run_record, document.model_dump_json(by_alias=True, exclude_none=True, indent=1))
    if rewind is not None:
        warn(
            f"The loss of step {rewind.diverged_at} was not a finite number: the job went back to step "
            f"{rewind.to_step} once and passes over the rows of the {rewind.diverged_at - rewind.to_step} steps behind "
            "it; at its end it learns from as many more."
        )
    return checkpoints.newest_valid(results.checkpoints, claim, warn, heartbeat), rewind


def _newest_finite(
    results: Results, claim: RunClaim, warn: Callable[[str], None], heartbeat: Callable[[int], None]
) -> Checkpoint | None:
    """The newest checkpoint of finite numbers; those behind it are deleted, for they hold what diverged."""
    while (found := checkpoints.newest_valid(results.checkpoints, claim, warn, heartbeat)) is not None:
        wrong = not_finite(found.path, heartbeat)
        if wrong is None:
            return found
        claim.discard(found.path)
        warn(f"Checkpoint {found.path.name} holds numbers that are not finite ({wrong}): it was deleted.")
    return None


def _discard(results: Results, claim: RunClaim, diverged: Callable[[Checkpoint], bool]) -> None:
    for checkpoint in checkpoints.complete(results.checkpoints):
        if diverged(checkpoint):
            claim.discard(checkpoint.path)


def not_finite(directory: Path, heartbeat: Callable[[int], None]) -> str | None:
    """The first tensor of a checkpoint, weights and optimizer, that has a number which is not finite."""
    import torch
    from safetensors import safe_open

    for file in sorted(directory.rglob("*.safetensors")):
        with safe_open(file, framework="pt") as content:
            for name in content.keys():  # noqa: SIM118  # no dictionary
                heartbeat(1)
                if not _is_finite(content.get_tensor(name)):
                    return f"{name} in {file.name}"
    for file in sorted(directory.rglob("optimizer.pt")):
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        for name, tensor in _tensors(state, "state"):
            heartbeat(1)
            if not _is_finite(tensor):
                return f"{name} in {file.name}"
    return None


def _is_finite(tensor: Any) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every tensor in nested dictionaries and lists, with the way to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _tensors(item, f"{name}.{index}")
    elif hasattr(value, "isfinite"):
        yield name, value
