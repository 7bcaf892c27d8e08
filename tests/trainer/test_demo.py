"""The demo and what it is made of: data without chance, a model that transformers reads, a tuning that helps."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from .examples import FIRST, UNTRAINED, program


@pytest.fixture
def data(example_inputs: Path) -> Path:
    return example_inputs / "datasets"


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_data_is_the_same_each_time(data: Path, tmp_path: Path) -> None:
    program(FIRST / "make_data.py", tmp_path)

    assert digests(tmp_path) == digests(data)


def test_several_thousand_pairs_are_learnt_and_no_function_is_on_both_sides(data: Path) -> None:
    train, held_out = (rows(data / "python-instructions" / f"{name}.jsonl") for name in ("train", "held-out"))

    assert len(train) > 2000
    assert len(held_out) > 50
    assert not names(train) & names(held_out)


def test_the_answers_are_python(data: Path) -> None:
    for row in rows(data / "python-instructions" / "held-out.jsonl"):
        compile(row["output"], "answer", "exec")


def test_the_base_model_is_one_that_transformers_reads(example_inputs: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = example_inputs / UNTRAINED
    model, loading = AutoModelForCausalLM.from_pretrained(made, output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(made)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert (example_inputs / "said").read_text().startswith(f"{model.num_parameters():,} ")
    text = "def f(größe):\n\treturn 'ß'"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.timeout(1800)
def test_the_demo_tunes_a_model_that_is_clearly_better_on_what_it_never_saw(tmp_path: Path) -> None:
    said = program(FIRST / "demo.py", tmp_path)

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
