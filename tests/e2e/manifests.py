"""Manifests of the end-to-end tests: small jobs that train for long enough to be disturbed; applies nothing."""

from __future__ import annotations

from typing import Any

from tests.e2e.inputs import DATA, MODEL

STEPS = 500


def a_job(name: str, **spec: Any) -> dict[str, Any]:
    """A CPU job with a checkpoint every few steps; `spec` replaces or, where it is a block, extends what is there."""
    whole: dict[str, Any] = {
        "model": {"claim": {"name": "models", "path": MODEL}},
        "dataset": {"sources": [{"claim": {"name": "datasets", "path": DATA}, "maxExamples": 400}]},
        "hyperparameters": {"maxSteps": STEPS, "perDeviceBatchSize": 4, "maxSequenceLength": 128, "seed": 11},
        "checkpoint": {"everySteps": 25},
        "evaluation": {"everySteps": 250},
        "compute": {"gpusPerNode": 0, "cpu": "800m", "memory": "2Gi"},  # two fit on two cores
    }
    for block, value in spec.items():
        extends = isinstance(value, dict) and block in whole
        whole[block] = whole[block] | value if extends else value
    return {
        "apiVersion": "finetune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name},
        "spec": whole,
    }
