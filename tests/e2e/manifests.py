"""The jobs that the end-to-end tests disturb: small, and long enough for that; applies nothing."""

from __future__ import annotations

from typing import Any

from tests.builders.manifests import JobManifest, a_manifest
from tests.e2e.inputs import DATA, MODEL, SMALLER_MODEL
from tests.e2e.jobs import Jobs
from tests.e2e.nodes import expect_trouble_on, silent_node

STEPS = 300


def a_job(name: str, *, steps: int = STEPS) -> JobManifest:
    """A CPU job with a checkpoint every few steps, on a claim that the operator makes."""
    return (
        a_manifest()
        .named(name)
        .with_spec(
            model={"claim": {"name": "models", "path": SMALLER_MODEL}},
            dataset={"sources": [{"claim": {"name": "datasets", "path": DATA}, "maxExamples": 400}]},
            hyperparameters={"maxSteps": steps, "perDeviceBatchSize": 4, "maxSequenceLength": 128, "seed": 11},
            checkpoint={"everySteps": 25},
            evaluation={"everySteps": 250},
            compute={"gpusPerNode": 0, "cpu": "600m", "memory": "2Gi"},  # three fit on two cores, beside the operator
            storage=None,
        )
    )


def a_hungry_job(name: str, *, steps: int = 6) -> JobManifest:
    """A job whose rank takes 1600 MiB with its batch of 80, and 1000 with 40, and 380 more of libraries' files.

    Without dropout, which draws other numbers for other batches, so that both learn alike.
    """
    hyperparameters = {"maxSteps": steps, "perDeviceBatchSize": 80, "maxSequenceLength": 256, "seed": 11}
    return (
        a_job(name)
        .with_spec(model={"claim": {"name": "models", "path": MODEL}}, tuning={"dropout": 0})
        .with_spec(hyperparameters=hyperparameters, checkpoint={"everySteps": 3})
        .computing(cpu="700m")
    )


def after_the_silence(name: str, jobs: Jobs) -> JobManifest:
    """The usual job on the node that falls silent in the first test of its lane, and has been brought back since."""
    node = silent_node(jobs.cluster)
    return a_job(name).placed_on(node).with_pods(tolerations=expect_trouble_on(node))


def a_priority_class(name: str, value: int = 1000) -> dict[str, Any]:
    """A PriorityClass above the default of 0, whose pods take the place of others."""
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
    }
