"""Makes a small Llama with a tokenizer of its own and random weights; what it knows comes from pretrain.yaml.

Only numpy and tokenizers are imported: the weights of a Llama are a list of matrices with well-known names, and
loading torch would take longer than making them. Run: python make_base_model.py TEXT_FILE DIRECTORY
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END, PADDING = "<|end|>", "<|padding|>"
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 2048,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 1,
    "dtype": "float32",
}
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '### ' + message['role'] + '\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant\n' }}{% endif %}"
)
"""In words that the vocabulary has; an answer ends with the end token, so that generation stops there."""
CHARACTERS = 500_000
"""As much text as the vocabulary is made from."""


def tokenizer_of(text: str) -> Tokenizer:
    """Byte-level BPE: no text is unknown to it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"],
        special_tokens=[END, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text[:CHARACTERS]], trainer)
    return tokenizer


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every weight of a Llama with tied embeddings: its name and shape."""
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    shared = CONFIG["num_key_value_heads"] * CONFIG["head_dim"]
    yield "model.embed_tokens.weight", (CONFIG["vocab_size"], hidden)
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        yield f"{at}.self_attn.q_proj.weight", (hidden, hidden)
        yield f"{at}.self_attn.k_proj.weight", (shared, hidden)
        yield f"{at}.self_attn.v_proj.weight", (shared, hidden)
        yield f"{at}.self_attn.o_proj.weight", (hidden, hidden)
        yield f"{at}.mlp.gate_proj.weight", (inner, hidden)
        yield f"{at}.mlp.up_proj.weight", (inner, hidden)
        yield f"{at}.mlp.down_proj.weight", (hidden, inner)
        yield f"{at}.input_layernorm.weight", (hidden,)
        yield f"{at}.post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)


def weights() -> dict[str, np.ndarray]:
    """Norms of one, matrices from a normal distribution; the same each time.

    Its width is 0.05, not Llama's 0.02: at this size the model learns faster from there.
    """
    random = np.random.default_rng(0)
    return {
        name: np.ones(shape, np.float32) if len(shape) == 1 else random.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in shapes()
    }


def make(text_file: Path, directory: Path) -> int:
    """Writes model and tokenizer as transformers reads them. Returns the number of parameters."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer_of(text_file.read_text(encoding="utf-8")).save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PADDING,
        "chat_template": CHAT_TEMPLATE,
        "model_max_length": CONFIG["max_position_embeddings"],
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    (directory / "config.json").write_text(json.dumps(CONFIG, indent=2), encoding="utf-8")
    made = weights()
    save_file(made, directory / "model.safetensors", metadata={"format": "pt"})
    return sum(weight.size for weight in made.values())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: make_base_model.py TEXT_FILE DIRECTORY")
    print(f"{make(Path(sys.argv[1]), Path(sys.argv[2])):,} parameters")
