"""Fills the claims that jobs start from: a small model of random weights, and the example's data; trains nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.installation import REPOSITORY
from tests.trainer.tiny_model import make_tiny_model

# The names that the example's manifest gives them.
MODEL = "tiny-llama"
DATA = "python-instructions/train.jsonl"
_MAKE_DATA = REPOSITORY / "examples" / "01-lora-sft" / "make_data.py"


def make_models(directory: Path) -> None:
    """Write the content of the claim `models`; of a size at which a step takes some hundredths of a second."""
    made = make_tiny_model(directory / MODEL, hidden=128, layers=4)
    for file in made.iterdir():
        file.chmod(0o644)  # safetensors writes for its own user only, and the pod's is another


def make_datasets(directory: Path) -> None:
    """Write the content of the claim `datasets`, as the example's reader does."""
    subprocess.run([sys.executable, str(_MAKE_DATA), str(directory)], check=True, capture_output=True)
