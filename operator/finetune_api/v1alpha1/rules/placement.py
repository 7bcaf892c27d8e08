"""Rules of storage, compute and the pod overlay. What a cluster has to offer is the operator's to find out."""

from __future__ import annotations

from .conditions import Has
from .rule import Rule, exactly_one_of, goes_with
from .terms import EveryName, Value

NODES = Value("nodes", 1)
GPUS = Value("gpusPerNode", 1)
STRATEGY = Value("strategy", "Auto")
SEVERAL_PROCESSES = (NODES > 1) | (GPUS > 1)


def _made_only(field: str) -> Rule:
    return Rule(
        Has(field).implies(~Has("claim")),
        f"{field} has no effect on an existing claim: it goes with size, for a claim that the operator makes",
        field,
    )


STORAGE = (
    exactly_one_of("size", "claim"),
    _made_only("storageClassName"),
    _made_only("accessMode"),
    _made_only("retain"),
)
COMPUTE = (
    goes_with("fsdp", STRATEGY, ("FSDP",), what="strategy"),
    goes_with("deepspeed", STRATEGY, ("DeepSpeed",), what="strategy"),
    Rule(
        STRATEGY.one_of("FSDP", "DeepSpeed").implies(SEVERAL_PROCESSES),
        "FSDP and DeepSpeed share a model among processes: write more nodes or gpusPerNode, or strategy Auto",
        "strategy",
    ),
    Rule(
        STRATEGY.one_of("Single", "Unsloth").implies(~SEVERAL_PROCESSES),
        "Single and Unsloth run one process: write nodes 1 and gpusPerNode 1 or 0, or strategy Auto",
        "strategy",
    ),
    Rule(
        STRATEGY.equals("Unsloth").implies(GPUS > 0),
        "Unsloth needs a GPU: write gpusPerNode 1, or another strategy",
        "strategy",
    ),
    Rule(
        Has("gpuResource").implies(GPUS > 0),
        "gpuResource has no effect with gpusPerNode 0: leave it out or write how many",
        "gpuResource",
    ),
)
DEEPSPEED = (
    Rule(
        Value("offloadParameters", False).equals(True).implies(Value("stage", 2).equals(3)),
        "offloadParameters goes with stage 3: write stage 3 or leave it out",
        "offloadParameters",
    ),
)
SPEC = (
    Rule(
        (Value("compute.nodes", 1) > 1).implies(Value("storage.accessMode", "ReadWriteMany").equals("ReadWriteMany")),
        "a job of several nodes needs a claim that all of them can write: write storage.accessMode ReadWriteMany",
        "storage.accessMode",
    ),
    Rule(
        Value("hyperparameters.attention", "Auto").equals("Flash").implies(Value("compute.gpusPerNode", 1) > 0),
        "hyperparameters.attention Flash needs a GPU: write Auto, or compute.gpusPerNode above 0",
        "hyperparameters.attention",
    ),
)
TOLERATION = (
    Rule(
        Value("operator", "Equal").equals("Exists").implies(~Has("value")),
        "value has no effect with operator Exists: leave it out",
        "value",
    ),
    Rule(
        Has("key") | Value("operator", "Equal").equals("Exists"),
        "key is missing: write it, or operator Exists for every taint",
    ),
    Rule(
        Has("tolerationSeconds").implies(Value("effect", "").equals("NoExecute")),
        "tolerationSeconds goes with effect NoExecute: write that or leave it out",
        "tolerationSeconds",
    ),
)
ENVIRONMENT_VARIABLE = (
    Rule(
        ~Value("name").matches("^(FINETUNE_.*|PET_.*|JOB_COMPLETION_INDEX|HF_HOME)$"),
        "FINETUNE_*, PET_*, JOB_COMPLETION_INDEX and HF_HOME are set by the operator: choose another name",
        "name",
    ),
)
LABEL_NAME = r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"


def _names(field: str) -> Rule:
    return Rule(
        Has(field).implies(EveryName(field, LABEL_NAME)),
        f"a name in {field} must be like team or example.com/team, of letters, digits, '-', '_' and '.'",
        field,
    )


POD_TEMPLATE = (_names("labels"), _names("annotations"), _names("nodeSelector"))
