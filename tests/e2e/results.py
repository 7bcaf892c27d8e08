"""Reads what a job left on its volume, with the libraries that its user would take; knows no Kubernetes.

Run: python -m tests.e2e.results BASE ADAPTER PROMPT
Prints what the base model and the model with the adapter write after a prompt, as a list in JSON.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tests.cluster.images import ROOT


def losses(run: Path) -> dict[int, float]:
    """Step to training loss, the mean since the step before, from `logs/metrics.jsonl` of a results directory."""
    found: dict[int, float] = {}
    for line in (run / "logs" / "metrics.jsonl").read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        if row.get("loss") is not None:
            found[int(row["step"])] = float(row["loss"])
    return found


def checkpoints(results: Path) -> list[int]:
    """The steps of the complete checkpoints of a job, whose fingerprint's directory is in this one."""
    found = [file.parent.name for file in results.glob("*/checkpoints/step-*/manifest.json")]
    return sorted(int(name.split("-")[1]) for name in found if not name.endswith(".torn"))


def logged_step(log: Path) -> int:
    """The last step of which the log of a pod tells; 0 before the first."""
    return max((int(step) for step in re.findall(r"\bstep (\d+)/", log.read_text())), default=0)


def means(curve: dict[int, float], steps: Collection[int]) -> dict[int, float]:
    """The curve at some of its steps: a point that is left out is counted into the next, with its number of steps."""
    found: dict[int, float] = {}
    total, last, begin = 0.0, 0, 0
    for step, loss in sorted(curve.items()):
        total += loss * (step - last)
        last = step
        if step in steps:
            found[step] = total / (step - begin)
            total, begin = 0.0, step
    return found


def content(directory: Path) -> dict[str, tuple[str, int]]:
    """Every file below a directory, with its SHA-256 and the time of its last change in nanoseconds."""
    return {
        str(file.relative_to(directory)): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in sorted(directory.rglob("*"))
        if file.is_file()
    }


def generate(base: Path, adapter: Path, prompt: str) -> tuple[str, str]:
    """Return what the base model and the model with the adapter write after a prompt, greedily.

    In a process of its own: tests that run side by side must not wait for what torch takes to load.
    """
    command = [sys.executable, "-m", "tests.e2e.results", str(base), str(adapter), prompt]
    before, after = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    return before, after


def _generate(base: str, adapter: str, prompt: str, tokens: int = 8) -> tuple[str, str]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    inputs = tokenizer(prompt, return_tensors="pt")

    def write() -> str:
        with torch.inference_mode():
            tokens_out = tuned.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        return str(tokenizer.decode(tokens_out[0, inputs["input_ids"].shape[1] :]))

    with tuned.disable_adapter():
        before = write()
    return before, write()


if __name__ == "__main__":
    print(json.dumps(_generate(*sys.argv[1:])))
