"""The fingerprint of a job: a hash of what changes what is learnt, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from .spec import FineTuneJobSpec
from .status import JobStatus

LEARNT_FROM = ("model", "dataset", "method", "tuning", "hyperparameters", "preference", "reinforcement", "script")
"""Blocks of the spec that decide what is learnt."""
SPEED_ONLY = frozenset({"attention", "kernels", "compile", "gradientCheckpointing", "dataLoaderWorkers"})
"""Hyperparameters that change how fast it is learnt, not what."""
NOT_IDENTITY = frozenset({"tokenSecret", "task"})
"""Credentials and names for reports, wherever they stand."""


def fingerprint(spec: FineTuneJobSpec, produced: Mapping[str, str] | None = None) -> str:
    """16 hexadecimal digits for a resolved spec; the directory of its results.

    Take the spec as `resolve` gives it: defaults that were not filled in are not part of the hash. `produced` says
    what each job that it refers to has produced: another result is another model to learn from.
    """
    document = spec.dump()
    identity: dict[str, Any] = {block: document[block] for block in LEARNT_FROM if block in document}
    identity["hyperparameters"] = {
        name: value for name, value in document.get("hyperparameters", {}).items() if name not in SPEED_ONLY
    }
    # Early stopping decides the step at which learning ends, a branch the weights at which it begins.
    stopping = document.get("evaluation", {}).get("earlyStopping")
    if stopping is not None:
        evaluation = document["evaluation"]
        identity["stopping"] = [stopping, evaluation.get("everySteps"), evaluation.get("everyEpoch")]
    if "from" in document.get("checkpoint", {}):
        identity["from"] = document["checkpoint"]["from"]
    if produced:
        identity["produced"] = dict(produced)
    text = json.dumps(_canonical(identity), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def produced(jobs: Iterable[JobStatus]) -> dict[str, str]:
    """What a fingerprint depends on of other jobs: the digest of an output, or the directory of checkpoints."""
    return {job.name: job.digest or job.path for job in jobs}


def _canonical(value: Any) -> Any:
    """Numbers that are equal look equal, and what is no part of the identity is gone."""
    if isinstance(value, dict):
        return {name: _canonical(item) for name, item in value.items() if name not in NOT_IDENTITY}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
