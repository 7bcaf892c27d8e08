"""Rules of the data: hold-out, cleaning and augmentation. What is in the files is the trainer's to check."""

from __future__ import annotations

from .conditions import Has
from .rule import Rule
from .terms import Value

SPLIT = (
    Rule(
        Value("validation", 0.0) + Value("test", 0.0) < 1.0,
        "validation + test must be below 1, so that rows are left to train on",
    ),
)
CLEANING = (
    Rule(
        (Has("minCharacters") & Has("maxCharacters")).implies(Value("minCharacters") <= Value("maxCharacters")),
        "minCharacters must not be above maxCharacters: no row would be left",
        "minCharacters",
    ),
)
AUGMENTATION = (
    Rule(
        Value("name").equals("SynonymReplacement").implies(~Has("model")),
        "model has no effect here: it goes with Paraphrase and BackTranslation",
        "model",
    ),
    Rule(
        Has("backModel").implies(Value("name").equals("BackTranslation")),
        "backModel has no effect here: it goes with BackTranslation",
        "backModel",
    ),
    Rule(
        Value("name").one_of("Paraphrase", "BackTranslation").implies(Has("model")),
        "model is missing: Paraphrase and BackTranslation need the model that writes the new rows",
    ),
    Rule(
        Value("name").equals("BackTranslation").implies(Has("backModel")),
        "backModel is missing: BackTranslation needs the model that translates back",
    ),
)
DATASET = (
    Rule(
        ~(Has("validation") & Has("split.validation")),
        "validation and split.validation exclude each other: name sources or a share, not both",
        "validation",
    ),
    Rule(
        ~(Has("test") & Has("split.test")),
        "test and split.test exclude each other: name sources or a share, not both",
        "test",
    ),
    Rule(
        (Has("chatTemplate") | Has("systemMessage")).implies(~Value("format", "Auto").equals("Text")),
        "chatTemplate and systemMessage have no effect on format Text: they go with examples that are a conversation",
        "format",
    ),
)
