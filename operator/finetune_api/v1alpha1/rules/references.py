"""Rules of references to models, data, checkpoints and files. Whether those exist is the operator's to say."""

from __future__ import annotations

from .conditions import Has
from .rule import Rule, exactly_one_of
from .terms import Value

MODEL_REFERENCE = (exactly_one_of("hub", "claim", "job"),)
DATA_SOURCE = (exactly_one_of("claim", "configMap", "hub"),)
CHECKPOINT_REFERENCE = (
    exactly_one_of("job", "claim"),
    Rule(
        Has("step").implies(Has("job")),
        "step has no effect here: it goes with job; with claim write the checkpoint's directory as path",
        "step",
    ),
    Rule(
        Has("claim").implies(Has("claim.path")),
        "claim.path is missing: write the checkpoint's directory on the claim",
        "claim",
    ),
)
CLAIM_PATH = (
    Rule(
        Has("path").implies(~Value("path").matches(r"(^|/)\.\.(/|$)")),
        "path must not go upwards: write it from the root of the claim, without ..",
        "path",
    ),
)
