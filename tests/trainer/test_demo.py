"""The demo and what it is made of: data without chance, a model that transformers reads, a tuning that helps."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "01-lora-sft"


def program(name: str, *arguments: Path) -> str:
    """Runs one of the example's programs as a person would, with all cores, and gives what it printed."""
    command = [sys.executable, str(EXAMPLE / name), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("datasets")
    program("make_data.py", directory)
    return directory


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_data_is_the_same_each_time(data: Path, tmp_path: Path) -> None:
    program("make_data.py", tmp_path)

    assert digests(tmp_path) == digests(data)


def test_several_thousand_pairs_are_learnt_and_no_function_is_on_both_sides(data: Path) -> None:
    train, held_out = (rows(data / "python-instructions" / f"{name}.jsonl") for name in ("train", "held-out"))

    assert len(train) > 2000
    assert len(held_out) > 50
    assert not names(train) & names(held_out)


def test_the_answers_are_python(data: Path) -> None:
    for row in rows(data / "python-instructions" / "held-out.jsonl"):
        compile(row["output"], "answer", "exec")


def test_the_base_model_is_one_that_transformers_reads(data: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    said = program("make_base_model.py", data / "python-source" / "library.txt", tmp_path)

    model, loading = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert said.startswith(f"{model.num_parameters():,} ")
    text = "def f(größe):\n\treturn 'ß'"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.timeout(1800)
def test_the_demo_tunes_a_model_that_is_clearly_better_on_what_it_never_saw(tmp_path: Path) -> None:
    said = program("demo.py", tmp_path)

    assert "Loss on held-out pairs" in said
    (report,) = tmp_path.glob("results/python-coder/*/output/report.json")
    metrics = json.loads(report.read_text(encoding="utf-8"))["metrics"]
    assert metrics["eval_loss"] < 0.95 * metrics["base_eval_loss"]
    assert (report.parent / "adapter_model.safetensors").is_file()


def digests(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def names(pairs: list[dict[str, str]]) -> set[str]:
    return {pair["output"].partition("(")[0] for pair in pairs}
