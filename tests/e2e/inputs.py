"""Makes what jobs start from: a model and data so small that a step takes some hundredths of a second; no training."""

from __future__ import annotations

import json
from pathlib import Path

from tests.trainer.data.building import a_tokenizer

# The names that the example's manifest gives them.
MODEL = "tiny-llama"
DATA = "python-instructions/train.jsonl"
_EXAMPLES = 600


def make_models(directory: Path) -> None:
    """Write a Llama of random weights and its tokenizer, as the content of the claim `models`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = a_tokenizer()
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(directory / MODEL)
    tokenizer.save_pretrained(directory / MODEL)


def make_datasets(directory: Path) -> None:
    """Write instructions with their answers, as the content of the claim `datasets`."""
    rows = [
        {"instruction": f"Write a function that adds {n} and divides by {n % 7 + 1}.", "output": _function(n)}
        for n in range(_EXAMPLES)
    ]
    path = directory / DATA
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _function(n: int) -> str:
    return f"def adjust_{n}(value):\n    return (value + {n}) / {n % 7 + 1}\n"
