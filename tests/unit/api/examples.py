"""For every rule across fields: a spec that keeps it and one that breaks it, as changes to a small job."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from tests.unit.api.generation import Document, a_document

BASE: Document = {
    "model": {"claim": {"name": "models", "path": "base"}},
    "dataset": {"sources": [{"claim": {"name": "data", "path": "train.jsonl"}}]},
}
NAME = "generated"
"""Of every job here."""
ABSENT = object()
CLAIM = {"claim": {"name": "models", "path": "other"}}
PAIRS = {"method": "DPO", "dataset.format": "Preference"}
GRPO = {
    "method": "GRPO",
    "dataset.format": "PromptOnly",
    "reinforcement.rewards": [{"name": "LengthPenalty"}],
}


def a_job(**changes: Any) -> Document:
    """A small valid job, with fields of the spec set by their path (`tuning.rank`)."""
    spec = copy.deepcopy(BASE)
    for path, value in changes.items():
        _put(spec, path.split("."), value)
    return a_document(spec)


def _put(holder: Document, steps: list[str], value: Any) -> None:
    *way, last = steps
    for step in way:
        holder = holder.setdefault(step, {})
    if value is ABSENT:
        holder.pop(last, None)
    else:
        holder[last] = copy.deepcopy(value)


@dataclass(frozen=True)
class Example:
    """Two jobs that differ in one thing: `right` is accepted, `wrong` is refused with a message that has `said`."""

    said: str
    right: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    """Changes that both have."""

    def __str__(self) -> str:
        return self.said[:60]

    @property
    def accepted(self) -> Document:
        return a_job(**self.context, **self.right)

    @property
    def refused(self) -> Document:
        return a_job(**self.context, **self.wrong)


def _tuning(name: str, value: Any, goes: str, not_with: str) -> Example:
    return Example(
        f"{name} has no effect here",
        {"tuning": {"type": goes, name: value}},
        {"tuning": {"type": not_with, name: value}},
    )


def _reward(name: str, settings: dict[str, Any]) -> list[Example]:
    """Each setting of a reward, left out, and written where it has no effect."""
    whole = {"reinforcement.rewards": [{"name": name, **settings}]}
    found = []
    for missing in settings:
        rest = {key: value for key, value in settings.items() if key != missing}
        found.append(
            Example(f"{missing} is missing", whole, {"reinforcement.rewards": [{"name": name, **rest}]}, GRPO_DATA)
        )
        astray = {"reinforcement.rewards": [{"name": "LengthPenalty", missing: settings[missing]}]}
        found.append(Example(f"{missing} has no effect here", whole, astray, GRPO_DATA))
    return found


GRPO_DATA = {"method": "GRPO", "dataset.format": "PromptOnly"}
SOURCE = {"name": "data", "key": "rows.jsonl"}
AUGMENTED = {"share": 0.1}

REFERENCES = [
    Example("exactly one of hub, claim and job", {}, {"model": {}}),
    Example("exactly one of hub, claim and job", {}, {"model.hub": {"id": "org/model"}}),
    Example("exactly one of claim, configMap and hub", {}, {"dataset.sources": [{"weight": 1.0}]}),
    Example(
        "exactly one of claim, configMap and hub",
        {"dataset.sources": [{"configMap": SOURCE}]},
        {"dataset.sources": [{"configMap": SOURCE, "claim": {"name": "data"}}]},
    ),
    Example("exactly one of job and claim", {"checkpoint.from": {"job": {"name": "a"}}}, {"checkpoint.from": {}}),
    Example(
        "step has no effect here",
        {"checkpoint.from": {"job": {"name": "a"}, "step": 4}},
        {"checkpoint.from": {"claim": {"name": "a", "path": "b"}, "step": 4}},
    ),
    Example(
        "claim.path is missing",
        {"checkpoint.from": {"claim": {"name": "a", "path": "b"}}},
        {"checkpoint.from": {"claim": {"name": "a"}}},
    ),
    *(
        Example("names the job itself", {path: {"job": {"name": "another"}}}, {path: {"job": {"name": NAME}}})
        for path in ("model", "checkpoint.from")
    ),
    Example("must not go upwards", {"model.claim.path": "a..b/c"}, {"model.claim.path": "a/../b"}),
]
DATA = [
    Example(
        "validation + test must be below 1",
        {"dataset.split": {"validation": 0.5, "test": 0.4}},
        {"dataset.split": {"validation": 0.5, "test": 0.5}},
    ),
    Example(
        "validation and split.validation exclude each other",
        {"dataset.split": {"test": 0.1}},
        {"dataset.split": {"validation": 0.1}},
        {"dataset.validation": {"sources": [{"configMap": SOURCE}]}},
    ),
    Example(
        "test and split.test exclude each other",
        {"dataset.split": {"validation": 0.1}},
        {"dataset.split": {"test": 0.1}},
        {"dataset.test": {"sources": [{"configMap": SOURCE}]}},
    ),
    Example(
        "minCharacters must not be above maxCharacters",
        {"dataset.cleaning": {"minCharacters": 5, "maxCharacters": 5}},
        {"dataset.cleaning": {"minCharacters": 6, "maxCharacters": 5}},
    ),
    Example(
        "model has no effect here",
        {"dataset.augmentation": [{"name": "SynonymReplacement", **AUGMENTED}]},
        {"dataset.augmentation": [{"name": "SynonymReplacement", "model": CLAIM, **AUGMENTED}]},
    ),
    Example(
        "backModel has no effect here",
        {"dataset.augmentation": [{"name": "Paraphrase", "model": CLAIM, **AUGMENTED}]},
        {"dataset.augmentation": [{"name": "Paraphrase", "model": CLAIM, "backModel": CLAIM, **AUGMENTED}]},
    ),
    Example(
        "model is missing",
        {"dataset.augmentation": [{"name": "Paraphrase", "model": CLAIM, **AUGMENTED}]},
        {"dataset.augmentation": [{"name": "Paraphrase", **AUGMENTED}]},
    ),
    Example(
        "backModel is missing",
        {"dataset.augmentation": [{"name": "BackTranslation", "model": CLAIM, "backModel": CLAIM, **AUGMENTED}]},
        {"dataset.augmentation": [{"name": "BackTranslation", "model": CLAIM, **AUGMENTED}]},
    ),
    Example(
        "have no effect on format Text",
        {"dataset.format": "Conversational"},
        {"dataset.format": "Text"},
        {"dataset.systemMessage": "You answer."},
    ),
]
TUNING = [
    _tuning("rank", 8, "VeRA", "IA3"),
    _tuning("alpha", 8.0, "QLoRA", "OFT"),
    _tuning("dropout", 0.1, "LoRA", "Full"),
    _tuning("targetModules", ["q_proj"], "IA3", "PromptTuning"),
    _tuning("modulesToSave", ["lm_head"], "DoRA", "Full"),
    _tuning("bias", "none", "RsLoRA", "VeRA"),
    _tuning("newTokens", ["<tool>"], "Full", "IA3"),
    _tuning("virtualTokens", 8, "PrefixTuning", "LoRA"),
    _tuning("initialText", "Answer:", "PromptTuning", "PTuning"),
    _tuning("freeze", {"embeddings": True}, "Full", "LoRA"),
    _tuning("elasticWeightConsolidation", {"strength": 0.4, "job": {"name": "a"}}, "Full", "LoRA"),
    Example(
        "trainLast excludes",
        {"tuning.freeze": {"trainLast": 2}},
        {"tuning.freeze": {"trainLast": 2, "firstLayers": 2}},
        {"tuning.type": "Full"},
    ),
    Example(
        "write what is frozen", {"tuning.freeze": {"firstLayers": 2}}, {"tuning.freeze": {}}, {"tuning.type": "Full"}
    ),
]
OPTIMISATION = [
    Example(
        "epochs and maxSteps exclude each other",
        {"hyperparameters": {"maxSteps": 10}},
        {"hyperparameters": {"maxSteps": 10, "epochs": 1.0}},
    ),
    Example(
        "warmupRatio and warmupSteps exclude each other",
        {"hyperparameters": {"warmupSteps": 10}},
        {"hyperparameters": {"warmupSteps": 10, "warmupRatio": 0.1}},
    ),
    Example(
        "minLearningRate has no effect here",
        {"hyperparameters": {"scheduler": "cosine_with_min_lr", "minLearningRate": 1e-6}},
        {"hyperparameters": {"minLearningRate": 1e-6}},
    ),
    Example(
        "needs minLearningRate",
        {"hyperparameters": {"scheduler": "cosine"}},
        {"hyperparameters": {"scheduler": "cosine_with_min_lr"}},
    ),
    Example(
        "minLearningRate must be below learningRate",
        {"hyperparameters.learningRate": 1e-4},
        {"hyperparameters.learningRate": 1e-6},
        {"hyperparameters.scheduler": "cosine_with_min_lr", "hyperparameters.minLearningRate": 1e-6},
    ),
    Example(
        "have no effect with scheduler constant",
        {"hyperparameters": {"scheduler": "constant_with_warmup", "warmupSteps": 5}},
        {"hyperparameters": {"scheduler": "constant", "warmupSteps": 5}},
    ),
    *(
        Example(
            f"{name} has no effect here",
            {"hyperparameters": {"optimizer": "adamw_torch", name: value}},
            {"hyperparameters": {"optimizer": "adafactor", name: value}},
        )
        for name, value in {"adamBeta1": 0.9, "adamBeta2": 0.95, "adamEpsilon": 1e-8}.items()
    ),
]
METHODS = [
    *(
        Example("cannot learn from data of this format", {"dataset.format": right}, {"dataset.format": wrong}, context)
        for right, wrong, context in (
            ("Instruction", "Preference", {}),
            ("Preference", "Text", {"method": "Reward"}),
            ("UnpairedPreference", "Preference", {"method": "KTO"}),
            ("PromptOnly", "Text", {"method": "PPO", "reinforcement.rewardModel": CLAIM}),
        )
    ),
    Example("preference has no effect here", {"preference": {"beta": 0.1}, **PAIRS}, {"preference": {"beta": 0.1}}),
    *(
        Example(
            f"preference.{name} has no effect here",
            {"method": "DPO", f"preference.{name}": value},
            {"method": "ORPO", f"preference.{name}": value},
        )
        for name, value in {"lossType": "hinge", "labelSmoothing": 0.1, "referenceModel": CLAIM}.items()
    ),
    Example(
        "labelSmoothing must be below 0.5",
        {"preference.labelSmoothing": 0.0},
        {"preference.labelSmoothing": 0.5},
        PAIRS,
    ),
    Example("reinforcement has no effect here", GRPO, {"reinforcement": {"temperature": 1.0}}),
    *(
        Example(
            f"reinforcement.{name} has no effect here",
            {**GRPO, f"reinforcement.{name}": value},
            {"method": "PPO", "reinforcement.rewardModel": CLAIM, f"reinforcement.{name}": value},
        )
        for name, value in {"generations": 4, "rewards": [{"name": "LengthPenalty"}]}.items()
    ),
    Example("GRPO and RLOO need reinforcement.rewards", GRPO, {"method": "GRPO"}),
    Example(
        "PPO needs reinforcement.rewardModel", {"method": "PPO", "reinforcement.rewardModel": CLAIM}, {"method": "PPO"}
    ),
    Example(
        "the reward RewardModel needs rewardModel",
        {"reinforcement": {"rewardModel": CLAIM, "rewards": [{"name": "RewardModel"}]}},
        {"reinforcement": {"rewards": [{"name": "RewardModel"}]}},
        GRPO_DATA,
    ),
    Example(
        "rewardModel has no effect here",
        {"reinforcement": {"rewards": [{"name": "LengthPenalty"}]}},
        {"reinforcement": {"rewardModel": CLAIM, "rewards": [{"name": "LengthPenalty"}]}},
        GRPO_DATA,
    ),
    *_reward("ExactMatch", {"column": "answer"}),
    *_reward("RegexMatch", {"pattern": "^[0-9]+$"}),
    *_reward("JSONSchema", {"schema": {"configMap": SOURCE}}),
    *_reward("Custom", {"configMap": SOURCE, "function": "score"}),
    *(
        Example(f"hyperparameters.{name} has no effect here", {"method": "SFT"}, PAIRS, {f"hyperparameters.{name}": v})
        for name, v in {"loss": "All", "packing": False, "neftuneNoiseAlpha": 5.0, "labelSmoothing": 0.1}.items()
    ),
    Example(
        "plain text has neither",
        {"hyperparameters.loss": "All"},
        {"hyperparameters.loss": "Assistant"},
        {"method": "ContinuedPretraining"},
    ),
    Example(
        "have no effect with ContinuedPretraining",
        {"method": "SFT"},
        {"method": "ContinuedPretraining"},
        {"dataset.systemMessage": "You answer."},
    ),
    Example(
        "PrefixTuning does not work with gradientCheckpointing",
        {"hyperparameters.gradientCheckpointing": False},
        {"hyperparameters.gradientCheckpointing": True},
        {"tuning.type": "PrefixTuning"},
    ),
    Example(
        "output.mergeAdapter has no effect here",
        {"output.mergeAdapter": True},
        {"output.mergeAdapter": True, "tuning.type": "Full"},
    ),
]
RUNNING = [
    Example(
        "everySteps and everyEpoch exclude each other",
        {"evaluation": {"everySteps": 5, "everyEpoch": False}},
        {"evaluation": {"everySteps": 5, "everyEpoch": True}},
    ),
    Example(
        "everySteps and everyMinutes exclude each other",
        {"checkpoint": {"everyMinutes": 5.0}},
        {"checkpoint": {"everyMinutes": 5.0, "everySteps": 5}},
    ),
    Example(
        "bestMetric has no effect",
        {"checkpoint": {"bestMetric": "eval_loss"}},
        {"checkpoint": {"bestMetric": "eval_loss", "keepBest": False}},
    ),
    Example(
        "must not be above maxBackoffSeconds",
        {"retryPolicy": {"backoffSeconds": 20, "maxBackoffSeconds": 20}},
        {"retryPolicy": {"backoffSeconds": 20, "maxBackoffSeconds": 19}},
    ),
    Example("exactly one of size and claim", {"storage.size": "1Gi"}, {"storage": {}}),
    *(
        Example(
            f"{name} has no effect on an existing claim",
            {"storage": {"size": "1Gi", name: value}},
            {"storage": {"claim": {"name": "mine"}, name: value}},
        )
        for name, value in {"storageClassName": "fast", "accessMode": "ReadWriteMany", "retain": False}.items()
    ),
    Example(
        "a job of several nodes needs a claim",
        {"compute.nodes": 1},
        {"compute.nodes": 2},
        {"storage": {"size": "1Gi", "accessMode": "ReadWriteOnce"}},
    ),
    Example(
        "fsdp has no effect here",
        {"compute": {"gpusPerNode": 2, "strategy": "FSDP", "fsdp": {}}},
        {"compute": {"gpusPerNode": 2, "fsdp": {}}},
    ),
    Example(
        "deepspeed has no effect here",
        {"compute": {"gpusPerNode": 2, "strategy": "DeepSpeed", "deepspeed": {"stage": 2}}},
        {"compute": {"gpusPerNode": 2, "strategy": "DDP", "deepspeed": {"stage": 2}}},
    ),
    Example(
        "share a model among processes",
        {"compute": {"gpusPerNode": 0, "nodes": 2, "strategy": "FSDP"}},
        {"compute": {"gpusPerNode": 1, "strategy": "FSDP"}},
    ),
    Example(
        "Single and Unsloth run one process",
        {"compute": {"strategy": "Single"}},
        {"compute": {"strategy": "Single", "nodes": 2}},
    ),
    Example(
        "Unsloth needs a GPU",
        {"compute": {"strategy": "Unsloth"}},
        {"compute": {"strategy": "Unsloth", "gpusPerNode": 0}},
    ),
    Example(
        "gpuResource has no effect",
        {"compute": {"gpuResource": "amd.com/gpu"}},
        {"compute": {"gpuResource": "amd.com/gpu", "gpusPerNode": 0}},
    ),
    Example(
        "Flash needs a GPU",
        {"hyperparameters.attention": "SDPA"},
        {"hyperparameters.attention": "Flash"},
        {"compute.gpusPerNode": 0},
    ),
    Example(
        "offloadParameters goes with stage 3",
        {"compute.deepspeed": {"stage": 3, "offloadParameters": True}},
        {"compute.deepspeed": {"stage": 2, "offloadParameters": True}},
        {"compute.strategy": "DeepSpeed", "compute.gpusPerNode": 2},
    ),
]
PODS = [
    Example(
        "value has no effect with operator Exists",
        {"podTemplate.tolerations": [{"key": "a", "value": "b"}]},
        {"podTemplate.tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
    ),
    Example(
        "key is missing",
        {"podTemplate.tolerations": [{"operator": "Exists"}]},
        {"podTemplate.tolerations": [{"effect": "NoSchedule"}]},
    ),
    Example(
        "tolerationSeconds goes with effect NoExecute",
        {"podTemplate.tolerations": [{"key": "a", "effect": "NoExecute", "tolerationSeconds": 60}]},
        {"podTemplate.tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 60}]},
    ),
    *(
        Example(
            "are set by the operator",
            {"podTemplate.env": [{"name": f"MY_{name}", "value": "x"}]},
            {"podTemplate.env": [{"name": name, "value": "x"}]},
        )
        for name in ("FINETUNE_CONFIG", "PET_NNODES", "JOB_COMPLETION_INDEX", "HF_HOME")
    ),
    *(
        Example(
            f"a name in {name} must be like",
            {f"podTemplate.{name}": {"example.com/team": "nlp"}},
            {f"podTemplate.{name}": {"no spaces": "nlp"}},
        )
        for name in ("labels", "annotations", "nodeSelector")
    ),
    Example(
        "exactly one of on and true",
        {"notifications": [{"channel": "team", "on": ["Failed"]}]},
        {"notifications": [{"channel": "team"}]},
    ),
]
EXAMPLES = [*REFERENCES, *DATA, *TUNING, *OPTIMISATION, *METHODS, *RUNNING, *PODS]


def named(name: str) -> Document:
    """A small valid job of a name."""
    return {**a_job(), "metadata": {"name": name}}


RIGHT_NAMES = ["a", "llama-3-2", "a" * 50]
WRONG_NAMES = ["3-llamas", "llama-3.2", "a" * 51]
