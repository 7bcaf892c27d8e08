"""Fills the claims that jobs start from: a small model of random weights, and the example's data; trains nothing.

Run: python -m tests.e2e.inputs MODELS
Writes the content of the claim `models`, in a process of its own: nobody else has to load torch for it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.images import ROOT

# The names that the example's manifest gives them; the smaller model is for jobs that only have to learn something.
MODEL = "tiny-llama"
SMALLER_MODEL = "tinier-llama"
DATA = "python-instructions/train.jsonl"
_MAKE_DATA = ROOT / "examples" / "01-lora-sft" / "make_data.py"


def make(models: Path, datasets: Path) -> None:
    """Write the contents of both claims; the data as the example's reader does."""
    for program in ([str(_MAKE_DATA), str(datasets)], ["-m", "tests.e2e.inputs", str(models)]):
        subprocess.run([sys.executable, *program], cwd=ROOT, check=True, capture_output=True)


def _make_models(directory: Path) -> None:
    """Models of which a step takes a tenth of a second of one core, and less than half of that."""
    from tests.trainer.tiny_model import make_tiny_model

    made = make_tiny_model(directory / MODEL, hidden=128, layers=4), make_tiny_model(directory / SMALLER_MODEL)
    for file in (file for model in made for file in model.iterdir()):
        file.chmod(0o644)  # safetensors writes for its own user only, and the pod's is another


if __name__ == "__main__":
    _make_models(Path(sys.argv[1]))
