"""Shows what tuning changed: the same prompts through the base model and through the adapter, without chance.

Each is kept from saying the same over and over, as so small a model else does.

Runs where the trainer runs (it needs torch, transformers, peft). Run: python compare.py BASE ADAPTER HELD_OUT_JSONL
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

LONGEST_ANSWER = 60
REPETITION_PENALTY = 1.2
PROMPTS = 2


def prompts(path: Path, count: int) -> list[str]:
    """The first short instructions that were never trained on."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return list(islice((row["instruction"] for row in rows if len(row["output"]) < 120), count))


def answer(model: Any, tokenizer: Any, prompt: str) -> str:
    """What the model writes after the prompt, as it was asked in training."""
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        made = model.generate(
            **asked, max_new_tokens=LONGEST_ANSWER, do_sample=False, repetition_penalty=REPETITION_PENALTY,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    text: str = tokenizer.decode(made[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    return text.strip()


def compare(base: Path, adapter: Path, held_out: Path) -> list[dict[str, str]]:
    """Prompt, answer before and answer after. The adapter's directory has the tokenizer with its chat template."""
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    compared = []
    for prompt in prompts(held_out, PROMPTS):
        with model.disable_adapter():
            before = answer(model, tokenizer, prompt)
        compared.append({"prompt": prompt, "before": before, "after": answer(model, tokenizer, prompt)})
    return compared


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: compare.py BASE ADAPTER HELD_OUT_JSONL")
    print(json.dumps(compare(*map(Path, sys.argv[1:]))))
