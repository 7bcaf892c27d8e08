"""`finetune run` with the real trainer: it succeeds, continues, survives a killed trainer, and says what is wrong."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_cli.errors import Exit
from tests.trainer.warm_programs import WarmPopen
from tests.trainer.workplace import DEADLINE, Workplace, await_that, make_inputs


@pytest.fixture
def workplace(tmp_path: Path, warm: type[WarmPopen]) -> Workplace:
    make_inputs(tmp_path)
    place = Workplace(tmp_path, popen=warm)
    place.write()
    return place


@pytest.fixture
def started(workplace: Workplace) -> Iterator[subprocess.Popen[str]]:
    """A run that is long enough to be disturbed, also by another process; it saves at every fifth step."""
    workplace.write(
        hyperparameters={
            "maxSteps": 60,
            "maxSequenceLength": 64,
            "gradientAccumulationSteps": 12,
            "gradientCheckpointing": False,
            "seed": 1,
        },
        checkpoint={"everySteps": 5},
        evaluation={"everySteps": 60},
        retryPolicy={"backoffSeconds": 0},
    )
    process = workplace.start()
    yield process
    process.kill()
    process.communicate()


def test_a_job_succeeds_and_the_same_command_finds_it_complete(workplace: Workplace) -> None:
    workplace.popen = subprocess.Popen  # as a person starts it, with every library to load
    code, said = workplace.run()
    assert code == Exit.SUCCEEDED, said
    assert workplace.job["status"]["phase"] == "Succeeded"
    adapter = workplace.result
    assert (adapter / "adapter_model.safetensors").is_file()
    assert workplace.steps() == [1, 2, 3, 4, 5, 6]
    written = (adapter / "adapter_model.safetensors").stat().st_mtime_ns

    code, said = workplace.run()

    assert code == Exit.SUCCEEDED, said
    assert "AlreadyComplete" in said
    assert (adapter / "adapter_model.safetensors").stat().st_mtime_ns == written


def test_a_killed_trainer_is_followed_by_an_attempt_that_resumes(
    workplace: Workplace, started: subprocess.Popen[str]
) -> None:
    await_that(lambda: len(workplace.steps()) >= 8)
    for trainer in workplace.trainers():
        os.kill(trainer, signal.SIGKILL)

    said, _ = started.communicate(timeout=DEADLINE)

    assert started.returncode == Exit.SUCCEEDED, said
    status = workplace.job["status"]
    assert status["attempt"] == 2
    assert status["restarts"]["total"] == 1
    assert status["history"][-1]["fromStep"] >= 5
    assert workplace.steps() == list(range(1, 61))


def test_a_killed_run_leaves_no_trainer_and_the_next_one_continues(
    workplace: Workplace, started: subprocess.Popen[str]
) -> None:
    await_that(lambda: len(workplace.steps()) >= 8)
    started.kill()
    await_that(lambda: not workplace.trainers())
    done = max(workplace.steps())

    code, said = workplace.run()

    assert code == Exit.SUCCEEDED, said
    # Its trainer had the time to save at its last step, or was killed as well and had saved at every fifth.
    assert workplace.job["status"]["history"][-1]["fromStep"] in (done, done // 5 * 5)
    assert workplace.steps() == list(range(1, 61))


def test_an_interrupt_pauses_with_a_checkpoint(workplace: Workplace, started: subprocess.Popen[str]) -> None:
    await_that(lambda: len(workplace.steps()) >= 3)
    started.send_signal(signal.SIGINT)

    said, _ = started.communicate(timeout=DEADLINE)

    assert started.returncode == Exit.INTERRUPTED, said
    assert workplace.job["status"]["phase"] == "Suspended"
    assert f"paused at step {max(workplace.steps())}" in said
    assert not workplace.trainers()


def test_another_terminal_pauses_and_resumes_a_run_which_stays_and_goes_on(
    workplace: Workplace, started: subprocess.Popen[str]
) -> None:
    await_that(lambda: len(workplace.steps()) >= 3)

    code, said = workplace.steer("pause", "--wait")

    assert code == Exit.SUCCEEDED, said
    paused_at = max(workplace.steps())
    assert f"local is paused at the checkpoint of step {paused_at}" in said
    assert not workplace.trainers()
    assert workplace.steer("pause")[0] == Exit.SUCCEEDED

    code, said = workplace.steer("resume", "--wait")

    assert code == Exit.SUCCEEDED, said
    printed, _ = started.communicate(timeout=DEADLINE)
    assert started.returncode == Exit.SUCCEEDED, printed
    assert "pausing as asked" in printed
    assert workplace.job["status"]["history"][-1]["fromStep"] == paused_at
    assert workplace.steps() == list(range(1, 61))
    assert workplace.steer("pause")[0] == Exit.ENDED


def test_another_terminal_cancels_a_run(workplace: Workplace, started: subprocess.Popen[str]) -> None:
    await_that(lambda: len(workplace.steps()) >= 3)

    code, said = workplace.steer("cancel", "--wait")

    assert code == Exit.SUCCEEDED, said
    assert "local is cancelled at the checkpoint of step" in said
    printed, _ = started.communicate(timeout=DEADLINE)
    assert started.returncode == Exit.NOT_FINISHED, printed
    assert "its checkpoints and record are kept" in printed
    assert workplace.steer("cancel")[0] == Exit.SUCCEEDED


def test_a_run_that_was_killed_is_paused_and_cancelled_on_paper(
    workplace: Workplace, started: subprocess.Popen[str]
) -> None:
    await_that(lambda: len(workplace.steps()) >= 3)
    started.kill()

    code, said = workplace.steer("pause")

    assert code == Exit.SUCCEEDED, said
    assert workplace.job["status"]["phase"] == "Suspended"
    code, said = workplace.steer("resume")
    assert code == Exit.CANNOT_START
    assert "the `finetune run` that began it continues it" in said
    assert workplace.steer("cancel")[0] == Exit.SUCCEEDED
    assert workplace.job["status"]["phase"] == "Cancelled"


def test_a_job_that_was_never_run_here_is_said_with_those_that_were(workplace: Workplace) -> None:
    code, said = workplace.steer("pause")

    assert code == Exit.NO_SUCH_JOB
    assert "the jobs there are none" in said


def test_two_nodes_train_as_one(workplace: Workplace) -> None:
    workplace.write(compute={"gpusPerNode": 0, "nodes": 2})

    code, said = workplace.run()

    assert code == Exit.SUCCEEDED, said
    assert workplace.job["status"]["effective"]["worldSize"] == 2


def test_wrong_data_fails_with_file_and_line_and_no_retry(workplace: Workplace) -> None:
    with (workplace.root / "datasets" / "train.jsonl").open("a") as file:
        file.write('{"prompt": oops}\n')

    code, said = workplace.run()

    assert code == Exit.FAILED
    assert "train.jsonl:61" in said
    assert "Traceback" not in said
    assert workplace.job["status"]["attempt"] == 1
