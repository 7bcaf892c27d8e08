"""The example of jobs that go on from one another, run as its README says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from .examples import EXAMPLES, program
from .warm_programs import WarmPopen

NAMES = ("python-base", "python-answers", "python-answers-again", "python-answers-slower")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, example_inputs: Path, warm: type[WarmPopen]) -> Path:
    """A directory in which the four jobs have been run, one after the other."""
    root = tmp_path_factory.mktemp("chain")
    shutil.copytree(example_inputs, root, dirs_exist_ok=True)
    manifest = EXAMPLES / "02-chain" / "job.yaml"
    for name in NAMES:
        models = ["--claim", "models=models"] if name == NAMES[0] else []
        claims = [*models, "--claim", "datasets=datasets", "--output", "out"]
        program("-m", "finetune_cli", "run", manifest, "--job", name, *claims, at=root, popen=warm)
    return root


def status(place: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "out" / ".finetune" / name / "job.json").read_text())["status"]
    return found


def losses(place: Path, name: str) -> dict[int, float]:
    report = place / "out" / status(place, name)["output"]["path"] / "report.json"
    return dict(map(tuple, json.loads(report.read_text())["lossCurve"]))


def test_each_job_says_what_it_comes_from(place: Path) -> None:
    base = "models/tiny-llama-untrained"
    assert [status(place, name)["effective"]["model"] for name in NAMES] == [
        base,
        f"job python-base on {base}",
        f"job python-answers on job python-base on {base}",
        f"job python-base on {base}",
    ]


def test_each_job_goes_on_where_the_one_before_it_ended(place: Path) -> None:
    base, answers, again, _ = (losses(place, name) for name in NAMES)
    assert base[30] < base[1] - 0.5
    assert answers[1] < base[1] - 0.5
    assert again[1] < answers[1]


def test_the_branch_has_the_losses_of_the_job_that_it_left_and_then_its_own(place: Path) -> None:
    left, branch = losses(place, "python-answers"), losses(place, "python-answers-slower")
    assert branch.keys() == left.keys()
    for step in range(1, 22):  # the first step after the checkpoint is measured before the rate changes anything
        assert branch[step] == pytest.approx(left[step], abs=1e-5)
    assert branch[23] != left[23]
    assert status(place, "python-answers-slower")["history"][-1]["fromStep"] == 20
