"""The job that the end-to-end tests disturb: small, and long enough for that; applies nothing."""

from __future__ import annotations

from tests.builders.manifests import JobManifest, a_manifest
from tests.e2e.inputs import DATA, MODEL

STEPS = 300


def a_job(name: str, *, steps: int = STEPS) -> JobManifest:
    """A CPU job with a checkpoint every few steps, on a claim that the operator makes."""
    return (
        a_manifest()
        .named(name)
        .with_spec(
            model={"claim": {"name": "models", "path": MODEL}},
            dataset={"sources": [{"claim": {"name": "datasets", "path": DATA}, "maxExamples": 400}]},
            hyperparameters={"maxSteps": steps, "perDeviceBatchSize": 4, "maxSequenceLength": 128, "seed": 11},
            checkpoint={"everySteps": 25},
            evaluation={"everySteps": 250},
            compute={"gpusPerNode": 0, "cpu": "800m", "memory": "2Gi"},  # two fit on two cores
            storage=None,
        )
    )
