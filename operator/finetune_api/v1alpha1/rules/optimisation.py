"""Rules of the hyperparameters among themselves. What goes with which method or tuning type is in methods.py."""

from __future__ import annotations

from .conditions import Has
from .rule import Rule, at_most_one_of, goes_with
from .terms import Value

OPTIMIZER = Value("optimizer", "adamw_torch_fused")
SCHEDULER = Value("scheduler", "cosine")
ADAM = ("adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit")

HYPERPARAMETERS = (
    at_most_one_of("epochs", "maxSteps"),
    at_most_one_of("warmupRatio", "warmupSteps"),
    goes_with("minLearningRate", SCHEDULER, ("cosine_with_min_lr",), what="scheduler"),
    Rule(
        SCHEDULER.equals("cosine_with_min_lr").implies(Has("minLearningRate")),
        "scheduler cosine_with_min_lr needs minLearningRate: write it",
        "scheduler",
    ),
    Rule(
        (Has("minLearningRate") & Has("learningRate")).implies(Value("minLearningRate") < Value("learningRate")),
        "minLearningRate must be below learningRate",
        "minLearningRate",
    ),
    Rule(
        SCHEDULER.equals("constant").implies(~Has("warmupRatio") & ~Has("warmupSteps")),
        "warmupRatio and warmupSteps have no effect with scheduler constant: write constant_with_warmup",
        "scheduler",
    ),
    goes_with("adamBeta1", OPTIMIZER, (*ADAM, "lion_8bit"), what="optimizer"),
    goes_with("adamBeta2", OPTIMIZER, (*ADAM, "lion_8bit"), what="optimizer"),
    goes_with("adamEpsilon", OPTIMIZER, ADAM, what="optimizer"),
)
