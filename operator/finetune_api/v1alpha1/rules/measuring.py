"""Rules of evaluation, checkpoints and retries."""

from __future__ import annotations

from .conditions import Has
from .rule import Rule, at_most_one_of
from .terms import Value

EVALUATION = (
    Rule(
        ~(Has("everySteps") & Value("everyEpoch", False).equals(True)),
        "everySteps and everyEpoch exclude each other: write only one of them",
        "everySteps",
    ),
)
CHECKPOINT = (
    at_most_one_of("everySteps", "everyMinutes"),
    Rule(
        Has("bestMetric").implies(Value("keepBest", True).equals(True)),
        "bestMetric has no effect with keepBest false: leave it out or write keepBest true",
        "bestMetric",
    ),
)
RETRY_POLICY = (
    Rule(
        Value("backoffSeconds", 10) <= Value("maxBackoffSeconds", 300),
        "backoffSeconds (10 where not written) must not be above maxBackoffSeconds (300 where not written)",
        "backoffSeconds",
    ),
)
