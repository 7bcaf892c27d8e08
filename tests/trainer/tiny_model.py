"""A Llama of a few hundred thousand parameters with a tokenizer of its own, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SENTENCES = (
    "the quick brown fox jumps over the lazy dog",
    "def add(a, b): return a + b",
    "What is two plus two? Two plus two is four.",
    "for item in items: print(item)",
    "Name a colour. Blue is a colour of the sky.",
)


def make_tokenizer(vocabulary: int = 512) -> Any:
    """A byte-level BPE tokenizer with beginning, end and padding tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=256
    )


def make_tiny_model(
    directory: Path, *, seed: int = 0, weights: bool = True, hidden: int = 64, layers: int = 2,
    broken_character: str | None = None,
) -> Path:  # fmt: skip
    """Writes model and tokenizer as save_pretrained does; without `weights` only configuration and tokenizer.

    `broken_character`: its embedding is infinite, as a row that overflowed; what contains it gives no finite loss.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 2,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=broken_character is None,
    )
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(directory)
    if weights:
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        if broken_character is not None:
            (token,) = tokenizer.encode(broken_character, add_special_tokens=False)
            with torch.no_grad():
                model.get_input_embeddings().weight[token] = float("inf")
        model.save_pretrained(directory)
    else:
        config.save_pretrained(directory)
    return directory
