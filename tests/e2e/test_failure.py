"""What goes wrong inside a job in the middle: memory, a rank, a checkpoint, the disk; it learns what it would have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster.waiting import until
from tests.e2e.jobs import Document, Jobs, phase
from tests.e2e.learning import OTHER_SPLIT, Expected, Undisturbed, assert_same_curve, assert_same_learning
from tests.e2e.manifests import a_hungry_job, a_job
from tests.e2e.nodes import calm_node
from tests.e2e.results import logged_step, losses, means
from tests.e2e.side_by_side import CALM, CALM_TOO, side_by_side

ONE_FAILURE = {"total": 1, "failures": 1, "outOfMemory": 0, "disruptions": 0, "hangs": 0}


def run_alone(jobs: Jobs, name: str) -> Undisturbed:
    """What a job of this namespace learns to which nothing happens."""
    job = jobs.finished(name)
    assert job["status"]["restarts"]["total"] == 0
    return Undisturbed.of(job, jobs.run_directory(job))


@side_by_side(CALM_TOO)
def test_a_job_that_runs_out_of_memory_goes_on_with_smaller_batches(jobs: Jobs, undisturbed: Expected) -> None:
    calm = calm_node(jobs.cluster)
    enough = run_alone(jobs, jobs.apply(a_hungry_job("memory-enough").placed_on(calm).computing(memory="3Gi")))
    job = jobs.finished(jobs.apply(a_hungry_job("out-of-memory").placed_on(calm).computing(memory="1250Mi")))

    status = job["status"]
    assert status["restarts"] == {"total": 1, "failures": 0, "outOfMemory": 1, "disruptions": 0, "hangs": 0}
    assert status["history"][0]["reason"] == "HostOutOfMemory"
    assert status["effective"]["perDeviceBatchSize"] == 40
    assert status["effective"]["gradientAccumulationSteps"] == 2
    assert any("the effective batch is kept" in reason for reason in status["effective"]["because"])
    assert_same_learning(job, jobs, enough, OTHER_SPLIT)


@side_by_side(CALM_TOO)
def test_a_truncated_checkpoint_is_passed_over_and_reported(jobs: Jobs, undisturbed: Expected) -> None:
    name = jobs.apply(a_job("checkpoint-truncated").placed_on(calm_node(jobs.cluster)))
    jobs.in_the_middle(name)
    jobs.patch(name, {"suspend": True})
    jobs.wait(name, "its suspension", lambda job: phase(job) == "Suspended")
    newest = sorted(jobs.results_so_far(name).glob("checkpoints/step-*"))[-1]
    victim = max((file for file in newest.iterdir() if file.is_file()), key=lambda file: file.stat().st_size)
    os.truncate(victim, victim.stat().st_size // 2)
    jobs.patch(name, {"suspend": False})

    job = jobs.finished(name)
    first, second = job["status"]["history"]
    assert second["fromStep"] < first["toStep"]
    assert any(newest.name in warning for warning in job["status"]["warnings"])
    assert_same_learning(job, jobs, undisturbed.result())


@side_by_side(CALM)
def test_a_full_disk_costs_neither_the_training_nor_the_last_checkpoint(jobs: Jobs, undisturbed: Expected) -> None:
    if not jobs.cluster.plane:
        pytest.skip("a small file system is mounted where the nodes are processes of this machine, not on kind")
    volume = jobs.cluster.small_claim("small", jobs.namespace, "16m")
    manifest = a_job("disk-full").placed_on(calm_node(jobs.cluster)).retrying(backoffSeconds=1)
    # Slower than others: it has to train until the operator asks it the next time, which may be in ten seconds.
    manifest = manifest.computing(cpu="400m")
    name = jobs.apply(manifest.with_spec(storage={"claim": {"name": "small"}}))
    jobs.in_the_middle(name, volume)
    ballast = fill(volume)
    full = jobs.wait(name, "a word of the full disk", _warns_of_a_checkpoint)
    last = full["status"]["checkpoint"]["latest"]["step"]
    trained = full["status"]["progress"]["step"]
    (pod,) = jobs.pods(name)
    log = jobs.log_file(pod)
    until(lambda: logged_step(log) > trained, "steps beyond the failed checkpoint", timeout=60)
    jobs.kill_ranks(pod)
    jobs.wait(name, "the end of the attempt", lambda job: job["status"]["attempt"] == 2)
    ballast.unlink()

    job = jobs.finished(name)
    assert job["status"]["restarts"] == ONE_FAILURE
    assert job["status"]["history"][1]["fromStep"] == last, "the checkpoint from before the disk was full is not used"
    expected = undisturbed.result()
    found = losses((volume / job["status"]["output"]["path"]).parent)
    assert_same_curve(job, means(found, expected.curve.keys()), expected)


def fill(volume: Path) -> Path:
    """Write a file of zeros until the file system takes no more; returns it."""
    ballast = volume / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:
            return ballast
    raise AssertionError("the volume took no more and said nothing")


def _warns_of_a_checkpoint(job: Document) -> bool:
    return any("could not be written" in warning for warning in job.get("status", {}).get("warnings", ()))
