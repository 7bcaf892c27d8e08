"""Makes what the data tests need: a tokenizer of a few hundred tokens, files in a claim, and job configurations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from finetune_api.trainer_contract import JobIdentity, Mounts, TrainerConfig
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_trainer.data import PreparedData, prepare

CHATML = (
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]
WORDS = "the quick brown fox jumps over a lazy dog and answers every question with user assistant system ### :\n"


def a_tokenizer(template: str | None = None, *, begins: bool = False, eos: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE, trained on one sentence. `begins`: puts <s> in front of every text."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([WORDS] * 4, trainer)
    # As in GPT-2 and its heirs, the offsets leave out the space that begins a token.
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    if begins:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>" if eos else None,
        pad_token="<pad>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    tokenizer.chat_template = template
    return tokenizer


@dataclass
class ADataset:
    """A claim and a ConfigMap in a directory, and the job that reads them."""

    root: Path
    dataset: dict[str, Any] = field(default_factory=dict)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    method: str = "SFT"
    heartbeats: list[int] = field(default_factory=list)

    def file(self, name: str, content: str | bytes | Sequence[Any]) -> ADataset:
        """Writes a file of the claim `data`; a sequence becomes JSON lines."""
        path = self.root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode()
        if not isinstance(content, bytes):
            content = "".join(json.dumps(row) + "\n" for row in content).encode()
        path.write_bytes(content)
        return self

    def config_map(self, key: str, content: str) -> ADataset:
        """A key of the ConfigMap `texts`, laid out as the kubelet does it."""
        directory = self.root / "texts"
        (directory / "..2026").mkdir(parents=True, exist_ok=True)
        (directory / "..2026" / key).write_text(content)
        if not (directory / "..data").exists():
            (directory / "..data").symlink_to("..2026")
        if not (directory / key).exists():
            (directory / key).symlink_to(Path("..data") / key)
        return self

    def with_dataset(self, **fields: Any) -> ADataset:
        self.dataset.update(fields)
        return self

    def config(self, *paths: str | None) -> TrainerConfig:
        """The job; `paths` are those of its sources on the claim (not needed where `dataset` has sources)."""
        (self.root / "data").mkdir(exist_ok=True)
        sources = [{"claim": {"name": "data", **({"path": path} if path else {})}} for path in paths]
        spec = {
            "model": {"claim": {"name": "models"}},
            "dataset": {**({"sources": sources} if sources else {}), **self.dataset},
            "method": self.method,
            "hyperparameters": self.hyperparameters,
        }
        return TrainerConfig(
            job=JobIdentity(name="job", namespace="default", uid="u"),
            attempt=1,
            fingerprint="0123456789abcdef",
            spec=FineTuneJobSpec.model_validate(spec),
            mounts=Mounts(
                output=str(self.root / "out"),
                claims={"data": str(self.root / "data")},
                config_maps={"texts": str(self.root / "texts")},
            ),
        )

    def prepare(
        self, *paths: str | None, tokenizer: PreTrainedTokenizerFast | None = None, length: int = 512, **more: Any
    ) -> PreparedData:
        return prepare(
            self.config(*paths),
            tokenizer or a_tokenizer(),
            maximum_length=length,
            heartbeat=self.heartbeats.append,
            **more,
        )


def claim(path: str, **fields: Any) -> dict[str, Any]:
    """A source on the claim `data`."""
    return {"claim": {"name": "data", "path": path}, **fields}


def trained(data: PreparedData, tokenizer: PreTrainedTokenizerFast, side: str = "train") -> list[str]:
    """What is learnt of each row, decoded from its labels."""
    rows = getattr(data, side)
    return [tokenizer.decode([label for label in row["labels"] if label != -100]) for row in rows]


def fed(data: PreparedData, tokenizer: PreTrainedTokenizerFast, side: str = "train") -> list[str]:
    """Each row as the model is fed it."""
    return [tokenizer.decode(row["input_ids"]) for row in getattr(data, side)]
