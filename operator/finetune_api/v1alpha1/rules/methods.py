"""Rules of methods: the data that each needs, and the settings that have an effect with each of them."""

from __future__ import annotations

from ..limits import LORA_FAMILY, PREFERENCE, REINFORCEMENT, SUPERVISED
from .conditions import Condition, Has
from .rule import Rule, goes_with
from .terms import AnyItem, Value

METHOD = Value("method", "SFT")
TUNING = Value("tuning.type", "LoRA")
FORMAT = Value("dataset.format", "Auto")

FORMATS_BY_METHODS = {
    SUPERVISED: ("Auto", "Text", "Instruction", "PromptCompletion", "Conversational"),
    ("DPO", "ORPO", "Reward"): ("Auto", "Preference"),
    ("KTO",): ("Auto", "UnpairedPreference"),
    REINFORCEMENT: ("Auto", "PromptOnly"),
}


def _data(methods: tuple[str, ...], formats: tuple[str, ...]) -> Rule:
    names = ", ".join(methods)
    return Rule(
        METHOD.one_of(*methods).implies(FORMAT.one_of(*formats)),
        f"{names} cannot learn from data of this format: write {' or '.join(formats[1:])}, or Auto",
        "dataset",
    )


def _only(field: str, *methods: str) -> Rule:
    return goes_with(field, METHOD, methods, what="method")


def _with_method(condition: Condition, *methods: str) -> Condition:
    return METHOD.one_of(*methods).implies(condition)


SPEC = (
    *(_data(methods, formats) for methods, formats in FORMATS_BY_METHODS.items()),
    _only("preference", *PREFERENCE),
    _only("preference.lossType", "DPO"),
    _only("preference.labelSmoothing", "DPO"),
    _only("preference.referenceModel", "DPO", "KTO"),
    _only("reinforcement", *REINFORCEMENT),
    _only("reinforcement.generations", "GRPO", "RLOO"),
    _only("reinforcement.rewards", "GRPO", "RLOO"),
    Rule(
        _with_method(Has("reinforcement.rewards"), "GRPO", "RLOO"),
        "GRPO and RLOO need reinforcement.rewards: write at least one",
    ),
    Rule(
        METHOD.equals("PPO").implies(Has("reinforcement.rewardModel")),
        "PPO needs reinforcement.rewardModel: name the model that scores the answers",
    ),
    _only("hyperparameters.loss", *SUPERVISED),
    _only("hyperparameters.packing", *SUPERVISED),
    _only("hyperparameters.neftuneNoiseAlpha", *SUPERVISED),
    _only("hyperparameters.labelSmoothing", *SUPERVISED),
    Rule(
        (METHOD.equals("ContinuedPretraining") | FORMAT.equals("Text")).implies(
            Value("hyperparameters.loss", "All").equals("All")
        ),
        "plain text has neither completions nor assistant turns: hyperparameters.loss can only be All",
        "hyperparameters.loss",
    ),
    Rule(
        METHOD.equals("ContinuedPretraining").implies(~Has("dataset.chatTemplate") & ~Has("dataset.systemMessage")),
        "dataset.chatTemplate and dataset.systemMessage have no effect with ContinuedPretraining: they go with SFT",
        "dataset",
    ),
    Rule(
        TUNING.equals("PrefixTuning").implies(
            ~Has("hyperparameters.gradientCheckpointing") | Value("hyperparameters.gradientCheckpointing").equals(False)
        ),
        "PrefixTuning does not work with gradientCheckpointing: leave it out or write false",
        "hyperparameters.gradientCheckpointing",
    ),
    Rule(
        (Has("output.mergeAdapter") & Value("output.mergeAdapter", False).equals(True)).implies(
            TUNING.one_of(*LORA_FAMILY, "VeRA", "OFT", "IA3")
        ),
        "output.mergeAdapter has no effect here: it goes with tuning types whose weights can be merged, such as LoRA",
        "output.mergeAdapter",
    ),
)

# Not a bound of the schema: the API server compares a whole number with the bound cut to a whole number.
PREFERENCE_BLOCK = (
    Rule(
        Value("labelSmoothing", 0.0) < 0.5,
        "labelSmoothing must be below 0.5: at 0.5 the preferred and the rejected answer are worth the same",
        "labelSmoothing",
    ),
)

_SCORED_BY_MODEL = AnyItem("rewards", Value("name").equals("RewardModel"))

REINFORCEMENT_BLOCK = (
    Rule(
        Has("rewards").implies(Has("rewardModel") | ~_SCORED_BY_MODEL),
        "the reward RewardModel needs rewardModel: name the model that scores the answers",
        "rewards",
    ),
    Rule(
        (Has("rewards") & Has("rewardModel")).implies(_SCORED_BY_MODEL),
        "rewardModel has no effect here: it goes with a reward of the name RewardModel",
        "rewardModel",
    ),
)


def _reward(field: str, name: str, missing: str) -> tuple[Rule, Rule]:
    """A setting that one reward needs and that no other has."""
    return (
        Rule(Value("name").equals(name).implies(Has(field)), f"{field} is missing: {name} needs {missing}"),
        goes_with(field, Value("name"), (name,), what="name"),
    )


REWARD = (
    *_reward("column", "ExactMatch", "the column with the right answer"),
    *_reward("pattern", "RegexMatch", "the pattern that an answer should have"),
    *_reward("schema", "JSONSchema", "the ConfigMap key with the schema"),
    *_reward("configMap", "Custom", "the ConfigMap key with the Python file"),
    *_reward("function", "Custom", "the name of the function in the file"),
)
