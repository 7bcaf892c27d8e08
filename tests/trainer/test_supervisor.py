"""Process 1 as a pod runs it: exit codes, termination message, endpoint, and what it does when ranks die or hang."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from finetune_api.trainer_contract import AttemptRecord, EndKind, ExitCode
from finetune_trainer import supervisor
from finetune_trainer.fencing import RunClaim
from finetune_trainer.termination import Termination
from finetune_trainer.volume import Volume

from .attempts import PATIENCE_SECONDS, AJob
from .warm_programs import WarmPopen

COLD = subprocess.Popen
"""Starts a supervisor as a pod does: it and its ranks have every library to load."""


class Supervised:
    """A supervisor as a process of its own."""

    def __init__(self, job: AJob, popen: type[subprocess.Popen[bytes]], **environment: str) -> None:
        self.job = job
        self.port = _free_port()
        self.message = job.volume / f"termination-log-{self.port}"
        self.log = job.volume / "supervisor.log"
        config = job.with_config(progressPort=self.port, progressHost="127.0.0.1").config
        variables = os.environ | {
            "FINETUNE_CONFIG": config.encode(),
            "FINETUNE_TERMINATION_MESSAGE": str(self.message),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        with self.log.open("ab") as log:
            self.process = popen(
                [sys.executable, "-m", "finetune_trainer.supervisor"], env=variables, stdout=log, stderr=log
            )

    def wait(self) -> tuple[ExitCode, AttemptRecord]:
        code = ExitCode(self.process.wait(PATIENCE_SECONDS))
        return code, AttemptRecord.load(self.message.read_bytes())

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            content: bytes = answer.read()
            return content

    def progress(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.get("/progress"))
        return report

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first report that fulfils the condition."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                report = self.progress()
            except OSError:
                report = None
            if report is not None and condition(report):
                return report
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def ranks(self) -> list[psutil.Process]:
        children: list[psutil.Process] = psutil.Process(self.process.pid).children()
        return children


@pytest.fixture
def supervise(warm: type[WarmPopen]) -> Iterator[Callable[..., Supervised]]:
    started: list[Supervised] = []

    def start(job: AJob, popen: type[subprocess.Popen[bytes]] = warm, **environment: str) -> Supervised:
        started.append(Supervised(job, popen, **environment))
        return started[-1]

    yield start
    for supervised in started:
        if supervised.process.poll() is None:
            supervised.process.kill()
            supervised.process.wait()


def an_endless_job(tmp_path: Path, models: Path) -> AJob:
    return AJob.on(tmp_path, models).with_spec(hyperparameters={"epochs": None, "maxSteps": 1_000_000})


def test_a_job_from_start_to_already_complete(
    tmp_path: Path, models: Path, supervise: Callable[..., Supervised]
) -> None:
    job = AJob.on(tmp_path, models)
    first = supervise(job, COLD)
    report = first.until(lambda _: True)
    assert (report["uid"], report["attempt"], report["run"]) == ("uid-1", 1, 1)
    assert report["stage"] == "Starting", "it answers before anything heavy is loaded"
    (rank,) = first.ranks()
    assert rank.environ()["OMP_WAIT_POLICY"] == "PASSIVE", "waiting threads leave the cores alone"
    metrics = first.get("/metrics").decode()
    assert "finetune_trainer_step 0" in metrics
    code, record = first.wait()
    assert (code, record.kind) == (ExitCode.FINISHED, EndKind.FINISHED), first.log.read_text()
    assert (record.step, record.total_steps, record.run) == (10, 10, 1)
    assert [record.step, record.loss] == job.report()["lossCurve"][-1]
    assert record.output is not None
    assert (job.volume / "job" / record.output.path / "adapter_model.safetensors").is_file()
    assert record.checkpoint.latest is not None

    again = supervise(job.with_config(job={"name": "job", "namespace": "test", "uid": "uid-2"}))
    code, record = again.wait()
    assert code is ExitCode.FINISHED
    assert record.already_complete
    assert record.uid == "uid-2"
    assert [path.name for path in job.results.runs.iterdir()] == ["1"], "no run was begun"


def test_sigterm_in_training_and_before_it(tmp_path: Path, models: Path, supervise: Callable[..., Supervised]) -> None:
    job = an_endless_job(tmp_path, models)
    running = supervise(job)
    running.until(lambda report: report["step"] >= 3)
    running.process.send_signal(signal.SIGTERM)
    code, record = running.wait()
    assert (code, record.kind) == (ExitCode.INTERRUPTED, EndKind.INTERRUPTED), running.log.read_text()
    latest = record.checkpoint.latest
    assert latest is not None
    assert latest.step == record.step == job.manifests()[-1].step

    starting = supervise(job, COLD)
    starting.until(lambda report: report["run"] == 2)
    starting.process.send_signal(signal.SIGTERM)
    code, record = starting.wait()
    assert (code, record.kind) == (ExitCode.INTERRUPTED, EndKind.INTERRUPTED), starting.log.read_text()


def test_sigterm_ends_it_while_the_volume_of_the_results_is_silent(
    tmp_path: Path, supervise: Callable[..., Supervised]
) -> None:
    """The thread that waits for the volume is left behind: no process that has said its last words may hang on it."""
    job = AJob.on(tmp_path, tmp_path)
    report = job.results.root / "output" / "report.json"
    report.parent.mkdir(parents=True)
    os.mkfifo(report)  # opening it waits for somebody who writes
    waiting = supervise(job, COLD)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while psutil.Process(waiting.process.pid).num_threads() < 2:
        assert time.monotonic() < deadline, "it never asked the volume"
        time.sleep(0.05)
    waiting.process.send_signal(signal.SIGTERM)
    code, record = waiting.wait()
    assert (code, record.kind) == (ExitCode.INTERRUPTED, EndKind.INTERRUPTED), waiting.log.read_text()
    assert "volume of the results" in record.message


def test_a_killed_rank_ends_the_attempt_and_the_other_rank(
    tmp_path: Path, models: Path, supervise: Callable[..., Supervised]
) -> None:
    job = an_endless_job(tmp_path, models).with_config(world={"device": "CPU", "processesPerNode": 2})
    supervised = supervise(job)
    supervised.until(lambda report: report["checkpoint"]["count"] >= 1)
    ranks = supervised.ranks()
    assert len(ranks) == 2
    ranks[1].kill()
    code, record = supervised.wait()
    assert (code, record.kind) == (ExitCode.INTERNAL_ERROR, EndKind.INTERNAL_ERROR)
    assert (record.rank, record.signal) == (1, "SIGKILL")
    assert record.checkpoint.latest is not None
    assert not any(rank.is_running() for rank in ranks)


def test_two_nodes_meet_and_each_says_how_it_ended(
    tmp_path: Path, models: Path, supervise: Callable[..., Supervised]
) -> None:
    job = AJob.on(tmp_path, models).with_config(world={"device": "CPU", "nodes": 2, "processesPerNode": 1})
    meeting = {"PET_NNODES": "2", "PET_MASTER_ADDR": "localhost", "PET_MASTER_PORT": str(_free_port())}
    # Node 1 first: it has to wait for the store.
    second = supervise(job, **meeting, JOB_COMPLETION_INDEX="1")
    first = supervise(job, **meeting, JOB_COMPLETION_INDEX="0")
    assert first.until(lambda report: report["step"] >= 1)["effective"]["worldSize"] == 2
    for supervised in (first, second):
        code, record = supervised.wait()
        assert (code, record.kind) == (ExitCode.FINISHED, EndKind.FINISHED), supervised.log.read_text()
    assert job.report()["effective"]["worldSize"] == 2
    assert [path.name for path in job.results.runs.iterdir()] == ["1"]


def test_a_hang_is_found_with_the_stacks_of_the_rank(
    tmp_path: Path, models: Path, supervise: Callable[..., Supervised]
) -> None:
    # A data loader's worker that is stopped leaves its rank waiting in the middle of a step, as a lost mount would.
    job = an_endless_job(tmp_path, models).with_spec(
        retryPolicy={"hangTimeoutSeconds": 30}, hyperparameters={"dataLoaderWorkers": 1}
    )
    supervised = supervise(job)
    supervised.until(lambda report: report["step"] >= 2)
    (rank,) = supervised.ranks()
    loaders = [child for child in rank.children() if child.is_running()]
    assert loaders
    for loader in loaders:
        loader.suspend()
    code, record = supervised.wait()
    assert (code, record.kind, record.rank) == (ExitCode.HANG, EndKind.HANG, 0), supervised.log.read_text()
    assert "Stacks of rank 0" in supervised.log.read_text()
    assert "connection.py" in record.message, "it waits for the worker's pipe"
    assert "hangTimeoutSeconds" in record.advice


def test_ranks_do_not_outlive_a_killed_supervisor(
    tmp_path: Path, models: Path, supervise: Callable[..., Supervised]
) -> None:
    supervised = supervise(an_endless_job(tmp_path, models))
    supervised.until(lambda report: report["stage"] != "Starting")
    ranks = supervised.ranks()
    supervised.process.kill()
    supervised.process.wait()
    gone, alive = psutil.wait_procs(ranks, timeout=30)
    assert gone
    assert not alive


def test_a_rank_whose_supervisor_died_before_it_began_ends_at_once(tmp_path: Path) -> None:
    environment = os.environ | {"FINETUNE_SCRATCH": str(tmp_path), "FINETUNE_SUPERVISOR": str(os.getppid())}
    done = subprocess.run([sys.executable, "-m", "finetune_trainer.worker"], env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "Neither FINETUNE_CONFIG nor FINETUNE_CONFIG_FILE is set"),
        ({"FINETUNE_CONFIG": "%%%"}, "holds no trainer configuration"),
        ({"FINETUNE_CONFIG_FILE": "/nowhere"}, "cannot be read"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_a_user_error(
    variables: dict[str, str], words: str, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FINETUNE_")}
    environment |= {"FINETUNE_TERMINATION_MESSAGE": str(tmp_path / "message"), **variables}
    done = subprocess.run([sys.executable, "-m", "finetune_trainer.supervisor"], env=environment, capture_output=True)
    record = AttemptRecord.load((tmp_path / "message").read_bytes())
    assert (done.returncode, record.kind) == (ExitCode.USER_ERROR, EndKind.USER_ERROR)
    assert words in record.message


# As the supervisor is started, but with SIGTERM at the first import that takes time.
STOPPED_WHILE_IMPORTING = """
import os, runpy, signal, sys

class Stop:
    def find_spec(self, name, *_):
        if name == "pydantic":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Stop())
runpy.run_module("finetune_trainer.supervisor", run_name="__main__")
"""


def test_sigterm_while_process_1_imports_is_heard_and_nothing_is_begun(tmp_path: Path, models: Path) -> None:
    job = AJob.on(tmp_path, models)
    environment = os.environ | {"FINETUNE_CONFIG": job.config.encode()}
    environment |= {"FINETUNE_TERMINATION_MESSAGE": str(tmp_path / "message")}
    done = subprocess.run([sys.executable, "-c", STOPPED_WHILE_IMPORTING], env=environment, capture_output=True)
    record = AttemptRecord.load((tmp_path / "message").read_bytes())
    assert (done.returncode, record.kind) == (ExitCode.INTERRUPTED, EndKind.INTERRUPTED)
    assert (record.uid, record.attempt) == ("uid-1", 1)
    assert not job.results.root.exists()


def test_a_volume_that_does_not_answer_does_not_keep_the_end_from_being_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Unanswered:
        def record_end(self, record: AttemptRecord) -> None:
            threading.Event().wait()

    monkeypatch.setattr(supervisor, "SECONDS_FOR_THE_VOLUME", 0.05)
    volume = Volume(Path("volume"), Termination(), lambda _: None)
    record = AttemptRecord(uid="uid-1", attempt=1, kind=EndKind.HANG)
    supervisor.keep_record(record, cast(RunClaim, Unanswered()), volume)
    assert "The volume does not answer" in caplog.text


def test_the_supervisor_loads_no_torch() -> None:
    program = "import sys, finetune_trainer.supervisor; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
