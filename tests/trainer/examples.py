"""Runs the programs of examples/ as a person would; asserts only that they end well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
FIRST = EXAMPLES / "01-lora-sft"
UNTRAINED = "models/tiny-llama-untrained"


def program(
    *arguments: str | Path, at: Path | None = None, popen: type[subprocess.Popen[str]] = subprocess.Popen
) -> str:
    """Runs Python with these arguments in the directory `at`, with as many threads as the tests have (one); returns
    what it printed."""
    command = [sys.executable, *map(str, arguments)]
    with popen(command, cwd=at, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        said, errors = running.communicate()
    assert running.returncode == 0, said + errors
    return said


def make_inputs(root: Path) -> str:
    """Makes `datasets` and the untrained model below `root`; returns what the program said that makes the model."""
    program(FIRST / "make_data.py", root / "datasets")
    text = root / "datasets" / "python-source" / "library.txt"
    return program(FIRST / "make_base_model.py", text, root / UNTRAINED)
