"""The README.md beside the weights: what was trained from what, how well, and how to load it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from finetune_api.trainer_contract import TrainerConfig

if TYPE_CHECKING:
    from .models.source import ModelSource


def model_card(config: TrainerConfig, report: dict[str, Any], base: ModelSource) -> str:
    """Markdown with the metadata that the hub reads."""
    adapter = report["output"]["adapter"]
    effective = report["effective"]
    header = ["---", f"library_name: {'peft' if adapter else 'transformers'}"]
    if base.is_hub and not base.adapters:
        header.append(f"base_model: {base.name}")
    header += ["pipeline_tag: text-generation", "tags:", "- finetune-operator", "---", ""]
    metrics = [f"| {name} | {value:.4f} |" for name, value in report["metrics"].items() if value is not None]
    facts = {
        "Base model": effective.get("model"),
        "Method": report["method"],
        "Tuning": (config.spec.tuning and config.spec.tuning.type) or "LoRA",
        "Trainable parameters": f"{effective.get('trainableParameters', 0):,}",
        "All parameters": f"{effective.get('totalParameters', 0):,}",
        "Optimizer steps": report["steps"],
        "Precision": effective.get("precision"),
        "Learning rate": effective.get("learningRate"),
        "Examples": ", ".join(f"{side} {sum(of.values())}" for side, of in report["examples"].items()),
        "Fingerprint": config.fingerprint,
    }
    return "\n".join([
        *header,
        f"# {config.job.name}",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        "",
        "| metric | value |",
        "|---|---|",
        *metrics,
        "",
        "```python",
        *_loading(adapter, base),
        "```",
        "",
        "`report.json` holds the loss curve, the whole specification and the versions of the libraries.",
        "",
    ])  # fmt: skip


def _loading(adapter: bool, base: ModelSource) -> list[str]:
    if adapter:
        name = base.name if base.is_hub else "path/to/the/base/model"
        return [
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f'base = AutoModelForCausalLM.from_pretrained("{name}")',
            *(
                f'base = PeftModel.from_pretrained(base, "path/to/the/output/of/{merged.job}").merge_and_unload()'
                for merged in base.adapters
            ),
            'model = PeftModel.from_pretrained(base, "path/to/this/directory")',
            'tokenizer = AutoTokenizer.from_pretrained("path/to/this/directory")',
        ]
    return [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("path/to/this/directory")',
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/directory")',
    ]
