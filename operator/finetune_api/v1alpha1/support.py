"""What the resource can say and this version cannot do yet: refused, never ignored. The list is to be emptied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .problems import Problem
from .spec import FineTuneJobSpec


@dataclass(frozen=True)
class NotYet:
    """A field (`dataset.sources[].claim`) that is not supported, or not with these values."""

    field: str
    values: tuple[Any, ...] = ()
    """The values that are not supported; empty means all of them, `False` apart (it asks for nothing)."""
    instead: str = "leave it out"

    def meets(self, value: Any) -> bool:
        return value in self.values if self.values else value is not False


NOT_YET_SUPPORTED = (
    NotYet(
        "method", ("DPO", "KTO", "ORPO", "Reward", "PPO", "GRPO", "RLOO"), "write SFT or ContinuedPretraining"
    ),
    NotYet(
        "tuning.type",
        (
            "QLoRA", "DoRA", "RsLoRA", "AdaLoRA", "VeRA", "OFT", "IA3",
            "PrefixTuning", "PromptTuning", "PTuning", "Adapter",
        ),
        "write LoRA or Full",
    ),
    NotYet("tuning.newTokens"),
    NotYet("tuning.freeze"),
    NotYet("tuning.elasticWeightConsolidation"),
    NotYet("model.trustRemoteCode"),
    NotYet("dataset.format", ("Preference", "UnpairedPreference", "PromptOnly"), "write a format that fits SFT"),
    NotYet("dataset.cleaning.dropNearDuplicates"),
    NotYet("dataset.balance"),
    NotYet("dataset.augmentation"),
    NotYet("dataset.replay"),
    NotYet("hyperparameters.kernels", ("Liger",), "write Auto"),
    NotYet(
        "hyperparameters.optimizer",
        ("adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "lion_8bit"),
        "write adamw_torch_fused",
    ),
    NotYet("script"),
    NotYet(
        "evaluation.metrics[]",
        ("BLEU", "ROUGE", "ExactMatch", "TokenF1", "Accuracy", "F1", "SemanticSimilarity"),
        "write Perplexity",
    ),
    NotYet("evaluation.embeddingModel"),
    NotYet("evaluation.generation"),
    NotYet("evaluation.harnessTasks"),
    NotYet("compute.strategy", ("FSDP", "DeepSpeed", "Unsloth"), "write Auto, Single or DDP"),
    NotYet("compute.fsdp"),
    NotYet("compute.deepspeed"),
    NotYet("output.mergeAdapter"),
    NotYet("output.quantize", ("Int8", "NF4", "GGUF"), "write None"),
    NotYet("output.push"),
    NotYet("tracking.wandb"),
    NotYet("tracking.mlflow"),
    NotYet("notifications"),
)  # fmt: skip


def unsupported(spec: FineTuneJobSpec) -> list[Problem]:
    """What this spec asks for that this version cannot do, one problem a field, in the order of the list."""
    document = spec.dump()
    return [
        Problem(field, _message(entry, value))
        for entry in NOT_YET_SUPPORTED
        for field, value in _find(document, entry.field.split("."), "spec")
        if entry.meets(value)
    ]


def _message(entry: NotYet, value: Any) -> str:
    what = f"{value} is" if entry.values else "is"
    return f"{what} not yet supported by this version of finetune-operator; {entry.instead}"


def _find(value: Any, path: list[str], at: str) -> Iterator[tuple[str, Any]]:
    """Every value under a path of names, with its field; a name that ends in [] goes through a list."""
    if not path:
        yield at, value
        return
    name, several = path[0].removesuffix("[]"), path[0].endswith("[]")
    if not isinstance(value, dict) or name not in value:
        return
    if several:
        for index, item in enumerate(value[name]):
            yield from _find(item, path[1:], f"{at}.{name}[{index}]")
    else:
        yield from _find(value[name], path[1:], f"{at}.{name}")
