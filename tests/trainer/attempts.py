"""Attempts for tests: a configuration builder, and rank processes forked from one that has the libraries loaded."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from finetune_api.trainer_contract import CheckpointManifest, EndKind, ProgressReport, TrainerConfig
from finetune_trainer.fencing import RunClaim
from finetune_trainer.records import RankRecord, read_progress
from finetune_trainer.results import Results

PATIENCE_SECONDS = 240.0


def write_rows(path: Path, count: int = 48) -> Path:
    """Instruction rows of different lengths, the same each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            row = {
                "instruction": f"What is {number} plus {number % 7}?",
                "output": f"It is {number + number % 7}." + " Really." * (number % 11),
            }
            file.write(json.dumps(row) + "\n")
    return path


@dataclass
class AJob:
    """A job on a volume of its own: `a_job(tmp_path).with_spec(...)`."""

    volume: Path
    models: Path
    spec: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def on(cls, volume: Path, models: Path) -> Self:
        """A LoRA job of 10 steps in 2 epochs on 48 rows, on the CPU, with a tiny model of `models`/tiny."""
        write_rows(volume / "data" / "train.jsonl")
        spec = {
            "model": {"claim": {"name": "models", "path": "tiny"}},
            "dataset": {"sources": [{"claim": {"name": "data", "path": "train.jsonl"}}], "split": {"validation": 0.1}},
            "tuning": {"type": "LoRA", "rank": 4, "dropout": 0.1},
            "hyperparameters": {
                "epochs": 2.0, "learningRate": 0.01, "perDeviceBatchSize": 4, "gradientAccumulationSteps": 2,
                "gradientCheckpointing": False,
            },
            "checkpoint": {"everySteps": 2, "keep": 2},
            "compute": {"gpusPerNode": 0},
            "tracking": {"tensorBoard": False},
        }  # fmt: skip
        return cls(volume, models, spec)

    def with_spec(self, **blocks: Any) -> Self:
        """Fields of the spec's blocks that differ; a block given as None is left out."""
        spec = json.loads(json.dumps(self.spec))
        for name, block in blocks.items():
            if block is None:
                spec.pop(name, None)
            elif isinstance(block, dict):
                merged = {**spec.get(name, {}), **block}
                spec[name] = {key: value for key, value in merged.items() if value is not None}
            else:
                spec[name] = block
        return type(self)(self.volume, self.models, spec, self.changes)

    def with_config(self, **changes: Any) -> Self:
        """Top-level fields of the trainer's configuration that differ."""
        return type(self)(self.volume, self.models, self.spec, {**self.changes, **changes})

    @property
    def config(self) -> TrainerConfig:
        document = {
            "job": {"name": "job", "namespace": "test", "uid": "uid-1"},
            "attempt": 1,
            "fingerprint": "0123456789abcdef",
            "spec": self.spec,
            "mounts": {
                "output": str(self.volume / "job"),
                "claims": {"models": str(self.models), "data": str(self.volume / "data")},
            },
            "world": {"device": "CPU"},
            "progressPort": 0,
            **self.changes,
        }
        return TrainerConfig.load(json.dumps(document))

    @property
    def results(self) -> Results:
        return Results.of(self.config)

    def report(self) -> dict[str, Any]:
        report = self.results.complete_report()
        assert report is not None, "the output is not complete"
        return report

    def manifests(self) -> list[CheckpointManifest]:
        paths = sorted(self.results.checkpoints.glob("step-*/manifest.json"))
        return [CheckpointManifest.load(path.read_bytes()) for path in paths if not path.parent.name.endswith(".torn")]


class Ranks:
    """The forked ranks of one attempt."""

    def __init__(self, job: AJob, count: int = 1, before: Callable[[], None] | None = None) -> None:
        """`before` runs in each rank before the recipe (to break something there)."""
        config = job.config
        job.results.create()
        self.run = RunClaim.take(job.results, config).number
        self.scratch = Path(tempfile.mkdtemp(prefix="ranks-", dir=job.volume))
        port = free_port()
        self.pids = [self._fork(config, rank, count, port, before) for rank in range(count)]
        self.statuses: dict[int, int] = {}

    def _fork(self, config: TrainerConfig, rank: int, count: int, port: int, before: Callable[[], None] | None) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            log = os.open(self.scratch / f"log-{rank}", os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ |= {"FINETUNE_SCRATCH": str(self.scratch), "FINETUNE_RUN": str(self.run), "RANK": str(rank)}
            os.environ |= {"FINETUNE_CONFIG": config.encode(), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(count)}
            if count == 1:
                for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_WORLD_SIZE"):
                    del os.environ[name]
            from finetune_trainer import worker

            worker._interruption.listen()
            if before is not None:
                before()
            code = worker.main()
        except BaseException:
            traceback.print_exc()
            code = 70
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def wait(self) -> list[RankRecord | None]:
        """Waits until every rank has ended; the records they left."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.statuses) < len(self.pids):
            for pid in self.pids:
                if pid not in self.statuses:
                    done, status = os.waitpid(pid, os.WNOHANG)
                    if done:
                        self.statuses[pid] = status
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the ranks did not end:\n{self.log()}")
            time.sleep(0.02)
        return [RankRecord.read(self.scratch, rank) for rank in range(len(self.pids))]

    def finish(self) -> None:
        """Waits, and fails with the log unless every rank finished."""
        records = self.wait()
        assert all(r is not None and r.kind is EndKind.FINISHED for r in records), f"{records}\n{self.log()}"

    def wait_for(self, condition: Callable[[ProgressReport], bool]) -> None:
        """Waits until the progress report fulfils the condition."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            report = read_progress(self.scratch)
            if report is not None and condition(report):
                return
            for pid in self.pids:
                if pid not in self.statuses and (ended := os.waitpid(pid, os.WNOHANG))[0]:
                    self.statuses[pid] = ended[1]
            assert len(self.statuses) < len(self.pids), f"ended before the condition:\n{self.log()}"
            time.sleep(0.01)
        self.kill()
        raise AssertionError(f"the condition was never fulfilled:\n{self.log()}")

    def kill(self, number: int = signal.SIGKILL) -> None:
        for pid in self.pids:
            if pid not in self.statuses:
                os.kill(pid, number)

    def log(self) -> str:
        return "\n".join(path.read_text("utf-8", "replace") for path in sorted(self.scratch.glob("log-*")))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
