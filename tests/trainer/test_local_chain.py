"""`finetune run` of jobs that begin with one another's results, with the real trainer, in one directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from finetune_cli.errors import Exit
from tests.trainer.workplace import Workplace, await_that, make_inputs

NUMBERS = {"maxSequenceLength": 64, "gradientCheckpointing": False, "seed": 1}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A place in which the job `first` has succeeded, on a claim that the person named."""
    root = tmp_path_factory.mktemp("chain")
    make_inputs(root)
    place = Workplace(root, "first")
    place.write(checkpoint={"everySteps": 3, "keep": 9})
    code, said = place.run()
    assert code == Exit.SUCCEEDED, said
    return place


def upon(place: Workplace, name: str) -> Workplace:
    """A job in the same place which is not told where the claim of the base lies."""
    return Workplace(place.root, name, claims=("datasets",))


def phase(place: Workplace) -> str | None:
    try:
        found: str | None = place.job.get("status", {}).get("phase")
    except OSError:
        return None
    return found


def test_a_job_begins_with_the_adapter_of_another_one_and_finds_its_base(first: Workplace) -> None:
    place = upon(first, "second")
    place.write(model={"job": {"name": "first"}})
    code, said = place.run()
    assert code == Exit.SUCCEEDED, said
    status = place.job["status"]
    assert status["effective"]["model"] == "job first on models/tiny-llama"
    assert status["effective"]["results"] == f"second/{place.result.parent.name}"
    (begun_with,) = status["effective"]["jobs"]
    assert begun_with["digest"] == first.job["status"]["output"]["digest"]
    assert place.losses()[0][1] < first.losses()[0][1]
    assert "it lies upon what job first has made" in said


def test_a_branch_has_the_losses_of_the_job_that_it_left(first: Workplace) -> None:
    place = Workplace(first.root, "branch")
    place.write(checkpoint={"everySteps": 3, "from": {"job": {"name": "first"}, "step": 3}})
    code, said = place.run()
    assert code == Exit.SUCCEEDED, said
    assert place.job["status"]["history"][-1]["fromStep"] == 3
    for (step, loss), (other_step, other) in zip(first.losses(), place.losses(), strict=True):
        assert step == other_step
        assert loss == pytest.approx(other, abs=1e-5)


def test_a_step_that_is_not_there_fails_with_those_that_are(first: Workplace) -> None:
    place = Workplace(first.root, "missing")
    place.write(checkpoint={"from": {"job": {"name": "first"}, "step": 4}})
    code, said = place.run()
    assert code == Exit.FAILED
    assert "job first has no checkpoint of step 4" in said
    assert "step 3, 6" in said


def test_a_job_that_was_never_run_here_is_named(first: Workplace) -> None:
    place = upon(first, "lonely")
    place.write(model={"job": {"name": "nobody"}})
    code, said = place.run()
    assert code == Exit.CANNOT_START
    assert "spec.model.job: no run of job nobody" in said


def test_a_job_waits_for_one_that_runs_beside_it(tmp_path: Path) -> None:
    make_inputs(tmp_path)
    earlier = Workplace(tmp_path, "earlier")
    later = upon(earlier, "later")
    earlier.write(hyperparameters={"maxSteps": 300, **NUMBERS}, evaluation={"everySteps": 300})
    running = earlier.start()
    await_that(lambda: len(earlier.steps()) >= 1)
    later.write(model={"job": {"name": "earlier"}})
    waiting = later.start()
    await_that(lambda: phase(later) == "Pending")
    assert running.wait() == Exit.SUCCEEDED
    said, _ = waiting.communicate(timeout=240)
    assert waiting.returncode == Exit.SUCCEEDED, said
    assert "WaitingForJob" in said or "waits for job earlier" in said


def test_a_job_whose_turn_has_not_come_says_so_and_starts_once_it_has(first: Workplace, tmp_path: Path) -> None:
    shutil.copytree(first.root, tmp_path / "copy")
    unfinished = Workplace(tmp_path / "copy", "unfinished")
    place = upon(unfinished, "later")
    unfinished.write(suspend=True)
    assert unfinished.run()[0] == Exit.NOT_FINISHED
    place.write(model={"job": {"name": "unfinished"}})
    code, said = place.run()
    assert code == Exit.CANNOT_START
    assert "waits for job unfinished to succeed: it is Suspended" in said
    unfinished.write()
    assert unfinished.run()[0] == Exit.SUCCEEDED
    place.write(model={"job": {"name": "unfinished"}})
    code, said = place.run()
    assert code == Exit.SUCCEEDED, said
