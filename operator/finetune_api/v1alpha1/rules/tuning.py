"""Rules of tuning types: which setting has an effect with which of them."""

from __future__ import annotations

from ..limits import ALPHA_TUNING, LORA_FAMILY, MODULE_TUNING, RANK_TUNING, VIRTUAL_TOKEN_TUNING
from .conditions import Count, Has
from .rule import Rule, goes_with
from .terms import Value

TUNING_TYPE = Value("type", "LoRA")

TUNING = (
    goes_with("rank", TUNING_TYPE, RANK_TUNING, what="type"),
    goes_with("alpha", TUNING_TYPE, ALPHA_TUNING, what="type"),
    goes_with("dropout", TUNING_TYPE, RANK_TUNING, what="type"),
    goes_with("targetModules", TUNING_TYPE, MODULE_TUNING, what="type"),
    goes_with("modulesToSave", TUNING_TYPE, MODULE_TUNING, what="type"),
    goes_with("bias", TUNING_TYPE, LORA_FAMILY, what="type"),
    goes_with("newTokens", TUNING_TYPE, ("Full", *LORA_FAMILY), what="type"),
    goes_with("virtualTokens", TUNING_TYPE, VIRTUAL_TOKEN_TUNING, what="type"),
    goes_with("initialText", TUNING_TYPE, ("PromptTuning",), what="type"),
    goes_with("freeze", TUNING_TYPE, ("Full",), what="type"),
    goes_with("elasticWeightConsolidation", TUNING_TYPE, ("Full",), what="type"),
)
FREEZE = (
    Rule(
        Has("trainLast").implies(Count(("embeddings", "firstLayers", "patterns"), "==", 0)),
        "trainLast excludes embeddings, firstLayers and patterns: it freezes everything but the last layers",
        "trainLast",
    ),
    Rule(
        Count(("embeddings", "firstLayers", "patterns", "trainLast"), ">=", 1),
        "write what is frozen: embeddings, firstLayers, patterns or trainLast",
    ),
)
