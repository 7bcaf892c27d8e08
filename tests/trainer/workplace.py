"""A directory in which `finetune run` runs one tiny job with the real trainer; asserts only what it needs itself."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.builders.manifests import a_manifest
from tests.trainer.tiny_model import SENTENCES, make_tiny_model

DEADLINE = 240.0


def make_inputs(root: Path) -> None:
    """The claims of a workplace: a tiny model and 60 rows."""
    make_tiny_model(root / "models" / "tiny-llama")
    (root / "datasets").mkdir()
    rows = [{"prompt": sentence, "completion": f" {number}"} for number in range(12) for sentence in SENTENCES]
    (root / "datasets" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@dataclass
class Workplace:
    """Directories for the claims, a manifest, and the command that runs it."""

    root: Path
    name: str = "local"
    inputs: Path | None = None
    """Where the directories `models` and `datasets` are; the root itself if None."""
    claims: tuple[str, ...] = ("models", "datasets")
    """Those of them that the command is told."""
    popen: type[subprocess.Popen[str]] = subprocess.Popen
    """What starts `finetune run`; the commands that steer it are programs of their own in any case."""

    def write(self, **spec: Any) -> None:
        """Writes the manifest: 6 steps, with these fields of the spec in place of its own."""
        fields = {
            "hyperparameters": {"maxSteps": 6, "maxSequenceLength": 64, "gradientCheckpointing": False, "seed": 1},
            "tracking": {"tensorBoard": False},
            "storage": None,
            **spec,
        }
        manifest = a_manifest().named(self.name).with_spec(**fields)
        (self.root / "job.yaml").write_text(yaml.safe_dump(manifest.document))

    def command(self) -> list[str]:
        inputs = self.inputs or self.root
        claims = [f"--claim={name}={inputs / name}" for name in self.claims]
        return [sys.executable, "-m", "finetune_cli", "run", "job.yaml", *claims, "--output", "out"]

    def start(self, log: Path | None = None) -> subprocess.Popen[str]:
        """Begins the run; what it prints goes into a pipe, or is added to `log`."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(log.open("a")) if log else subprocess.PIPE
            return self.popen(
                self.command(), cwd=self.root, env=environment, text=True, stdout=out, stderr=subprocess.STDOUT
            )

    def run(self) -> tuple[int, str]:
        """Exit code and everything that was printed."""
        process = self.start()
        said, _ = process.communicate(timeout=DEADLINE)
        return process.returncode, said

    def steer(self, *arguments: str) -> tuple[int, str]:
        """Runs `finetune pause`, `resume` or `cancel` beside the run; exit code and what was printed."""
        command = [sys.executable, "-m", "finetune_cli", *arguments, self.name, "--output", "out"]
        ended = subprocess.run(
            command, cwd=self.root, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE
        )
        return ended.returncode, ended.stdout

    @property
    def job(self) -> dict[str, Any]:
        """The FineTuneJob as the run keeps it."""
        document: dict[str, Any] = json.loads((self.root / f"out/.finetune/{self.name}/job.json").read_text())
        return document

    @property
    def result(self) -> Path:
        """The directory that the run names as its result."""
        (found,) = self.root.glob(f"out/{self.name}/*/output")
        assert self.job["status"]["output"]["path"].endswith(f"{found.parent.name}/output")
        return found

    def steps(self) -> list[int]:
        """The steps that were trained, as metrics.jsonl has them."""
        return [step for step, _ in self.losses()]

    def losses(self) -> list[tuple[int, float]]:
        """Step and loss of each line of metrics.jsonl that has one."""
        found = list(self.root.glob(f"out/{self.name}/*/logs/metrics.jsonl"))
        if not found:
            return []
        lines = (json.loads(line) for line in found[0].read_text().splitlines() if line.endswith("}"))
        return [(line["step"], line["loss"]) for line in lines if "loss" in line]

    def trainers(self) -> list[int]:
        """Processes of this workplace's trainer, by the volume in their environment."""
        mark = f"{self.root}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if not entry.name.isdigit():
                    continue
                # One that was forked has no command line of its own, and a name of no more than 15 characters.
                named = b"finetune_traine" in (entry / "cmdline").read_bytes() + (entry / "comm").read_bytes()
                if named and ((entry / "cwd").readlink() == self.root or mark in (entry / "environ").read_bytes()):
                    found.append(int(entry.name))
        return found


def await_that(holds: Callable[[], bool]) -> None:
    """Polls until it holds; fails after the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.05)
