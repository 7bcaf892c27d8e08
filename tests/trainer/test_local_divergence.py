"""`finetune run` with a job that diverges: the operator's decision and the trainer's part in it, together."""

from __future__ import annotations

import json
from pathlib import Path

from finetune_cli.errors import Exit
from tests.trainer.attempts import write_rows
from tests.trainer.tiny_model import make_tiny_model
from tests.trainer.warm_programs import WarmPopen
from tests.trainer.workplace import Workplace

BROKEN = "~"


def a_diverging_workplace(directory: Path, popen: type[WarmPopen], *, broken_rows: tuple[int, ...]) -> Workplace:
    """12 steps in one epoch; the model cannot take a character that the given rows contain."""
    make_tiny_model(directory / "models" / "tiny", broken_character=BROKEN)
    source = write_rows(directory / "data" / "train.jsonl", 96)
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    for number in broken_rows:
        rows[number]["output"] += BROKEN
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    place = Workplace(directory, claims=("models", "data"), popen=popen)
    place.write(
        model={"claim": {"name": "models", "path": "tiny"}},
        dataset={"sources": [{"claim": {"name": "data", "path": "train.jsonl"}}], "split": {"validation": 0}},
        hyperparameters={
            "epochs": 1, "perDeviceBatchSize": 8, "gradientCheckpointing": False, "seed": 42
        },
        checkpoint={"everySteps": 1},
        evaluation=None,
        retryPolicy={"onDivergence": "RewindOnce", "maxRetries": 0},
    )  # fmt: skip
    return place


def test_a_job_goes_back_before_its_divergence_and_succeeds(tmp_path: Path, warm: type[WarmPopen]) -> None:
    workplace = a_diverging_workplace(tmp_path, warm, broken_rows=(30,))
    code, said = workplace.run()
    assert code == Exit.SUCCEEDED, said
    status = workplace.job["status"]
    assert [entry["reason"] for entry in status["history"]] == ["Diverged", "Finished"]
    assert status["restarts"]["divergences"] == 1
    assert status["history"][1]["fromStep"] == status["effective"]["divergedAt"] - 1
    assert any("went back to step" in warning for warning in status["warnings"])
    assert workplace.steps() == list(range(1, 13))


def test_a_job_that_diverges_wherever_it_goes_fails_with_advice(tmp_path: Path, warm: type[WarmPopen]) -> None:
    workplace = a_diverging_workplace(tmp_path, warm, broken_rows=tuple(range(96)))
    code, said = workplace.run()
    assert code == Exit.FAILED, said
    status = workplace.job["status"]
    assert [entry["reason"] for entry in status["history"]] == ["Diverged", "Diverged"]
    assert "once already" in status["failure"]["advice"]
    assert "learningRate" in status["failure"]["advice"]
