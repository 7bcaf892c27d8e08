"""`finetune run` with the real trainer: it succeeds, continues, survives a killed trainer, and says what is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_cli.errors import Exit
from tests.builders.manifests import a_manifest
from tests.trainer.tiny_model import SENTENCES, make_tiny_model

DEADLINE = 240.0


@dataclass
class Workplace:
    """Directories for the claims, a manifest, and the command that runs it."""

    root: Path

    def write(self, **spec: Any) -> None:
        fields = {
            "hyperparameters": {"maxSteps": 6, "maxSequenceLength": 64, "gradientCheckpointing": False, "seed": 1},
            "tracking": {"tensorBoard": False},
            "storage": None,
            **spec,
        }
        manifest = a_manifest().named("local").with_spec(**fields)
        (self.root / "job.yaml").write_text(yaml.safe_dump(manifest.document))

    def command(self) -> list[str]:
        claims = [f"--claim={name}={self.root / name}" for name in ("models", "datasets")]
        return [sys.executable, "-m", "finetune_cli", "run", "job.yaml", *claims, "--output", "out"]

    def start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            self.command(), cwd=self.root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self) -> tuple[int, str]:
        """Exit code and everything that was printed."""
        process = self.start()
        said, _ = process.communicate(timeout=DEADLINE)
        return process.returncode, said

    def steer(self, *arguments: str) -> tuple[int, str]:
        """Runs `finetune pause`, `resume` or `cancel` beside the run; exit code and what was printed."""
        command = [sys.executable, "-m", "finetune_cli", *arguments, "local", "--output", "out"]
        ended = subprocess.run(
            command, cwd=self.root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE
        )
        return ended.returncode, ended.stdout

    @property
    def job(self) -> dict[str, Any]:
        """The FineTuneJob as the run keeps it."""
        document: dict[str, Any] = json.loads((self.root / "out/.finetune/local/job.json").read_text())
        return document

    @property
    def result(self) -> Path:
        """The directory that the run names as its result."""
        (found,) = self.root.glob("out/local/*/output")
        assert self.job["status"]["output"]["path"].endswith(f"{found.parent.name}/output")
        return found

    def steps(self) -> list[int]:
        """The steps that were trained, as metrics.jsonl has them."""
        found = list(self.root.glob("out/local/*/logs/metrics.jsonl"))
        if not found:
            return []
        lines = found[0].read_text().splitlines()
        return [json.loads(line)["step"] for line in lines if '"loss"' in line and line.endswith("}")]

    def trainers(self) -> list[int]:
        """Processes of this workplace's trainer, by the volume in their environment."""
        mark = f"{self.root}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                ours = entry.name.isdigit() and b"finetune_trainer" in (entry / "cmdline").read_bytes()
                if ours and ((entry / "cwd").readlink() == self.root or mark in (entry / "environ").read_bytes()):
                    found.append(int(entry.name))
        return found


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    make_tiny_model(tmp_path / "models" / "tiny-llama")
    (tmp_path / "datasets").mkdir()
    rows = [{"prompt": sentence, "completion": f" {number}"} for number in range(12) for sentence in SENTENCES]
    (tmp_path / "datasets" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    place = Workplace(tmp_path)
    place.write()
    return place


@pytest.fixture
def started(workplace: Workplace) -> Iterator[subprocess.Popen[str]]:
    """A run that is long enough to be disturbed; it saves at every fifth step."""
    workplace.write(
        hyperparameters={"maxSteps": 60, "maxSequenceLength": 64, "gradientCheckpointing": False, "seed": 1},
        checkpoint={"everySteps": 5},
        evaluation={"everySteps": 60},
        retryPolicy={"backoffSeconds": 0},
    )
    process = workplace.start()
    yield process
    process.kill()
    process.communicate()


def test_a_job_succeeds_and_the_same_command_finds_it_complete(workplace: Workplace) -> None:
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


def await_that(holds: Callable[[], bool]) -> None:
    """Polls until it holds; fails after the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.05)
