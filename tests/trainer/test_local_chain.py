"""`finetune run` of jobs that begin with one another's results, with the real trainer, in one directory."""

from __future__ import annotations

from pathlib import Path

from finetune_cli.errors import Exit
from tests.trainer.warm_programs import WarmPopen
from tests.trainer.workplace import Workplace, await_that, make_inputs

NUMBERS = {"maxSequenceLength": 64, "gradientCheckpointing": False, "seed": 1}


def upon(place: Workplace, name: str) -> Workplace:
    """A job in the same place which is not told where the claim of the base lies."""
    return Workplace(place.root, name, claims=("datasets",), popen=place.popen)


def phase(place: Workplace) -> str | None:
    try:
        found: str | None = place.job.get("status", {}).get("phase")
    except OSError:
        return None
    return found


def test_a_job_waits_for_one_that_runs_beside_it(tmp_path: Path, warm: type[WarmPopen]) -> None:
    make_inputs(tmp_path)
    earlier = Workplace(tmp_path, "earlier", popen=warm)
    later = upon(earlier, "later")
    earlier.write(hyperparameters={"maxSteps": 100, **NUMBERS}, evaluation={"everySteps": 100})
    running = earlier.start()
    await_that(lambda: len(earlier.steps()) >= 1)
    later.write(model={"job": {"name": "earlier"}})
    waiting = later.start()
    await_that(lambda: phase(later) == "Pending")
    assert running.wait() == Exit.SUCCEEDED
    said, _ = waiting.communicate(timeout=240)
    assert waiting.returncode == Exit.SUCCEEDED, said
    assert "waits for job earlier to succeed" in said
    (begun_with,) = later.job["status"]["effective"]["jobs"]
    assert begun_with["digest"] == earlier.job["status"]["output"]["digest"]
    assert "it lies upon what job earlier has made" in said


def test_a_job_whose_turn_has_not_come_says_so(tmp_path: Path, warm: type[WarmPopen]) -> None:
    make_inputs(tmp_path)
    unfinished = Workplace(tmp_path, "unfinished", popen=warm)
    unfinished.write(suspend=True)
    assert unfinished.run()[0] == Exit.NOT_FINISHED
    later = upon(unfinished, "later")
    later.write(model={"job": {"name": "unfinished"}})
    code, said = later.run()
    assert code == Exit.CANNOT_START
    assert "waits for job unfinished to succeed: it is Suspended" in said
