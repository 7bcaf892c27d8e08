"""The Indexed Job of an attempt: all pods or none, no retries of its own, an end that says why."""

from __future__ import annotations

from typing import Any

from finetune_api.trainer_contract import ExitCode

from .. import names
from ..settings import Settings
from . import pod
from .attempt import FOREGROUND, Attempt

# Not the code of an interruption: it would make a Job that its queue suspends a failed one.
_FAIL_AT_ONCE = sorted(
    (
        ExitCode.USER_ERROR,
        ExitCode.DEVICE_OUT_OF_MEMORY,
        ExitCode.HOST_OUT_OF_MEMORY,
        ExitCode.DIVERGED,
        ExitCode.HANG,
    )
)


def build(attempt: Attempt, settings: Settings) -> dict[str, Any]:
    """A batch/v1 Job. Raises ConfigurationTooLargeError."""
    metadata = attempt.metadata(attempt.child)
    metadata["labels"] = {
        **metadata["labels"],
        names.ATTEMPT_LABEL: str(attempt.number),
        **attempt.queueing(attempt.labels),
    }
    # Whoever deletes it without saying how, garbage collection after the FineTuneJob included: its pods go first.
    metadata["finalizers"] = [FOREGROUND]
    annotations = attempt.queueing(attempt.annotations)
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": attempt.nodes,
            "parallelism": attempt.nodes,
            "backoffLimit": 0,
            # A pod is replaced, and the Job is over, only when the pod before has really ended.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": names.CONTAINER,
                            "operator": "In",
                            "values": [int(code) for code in _FAIL_AT_ONCE],
                        },
                    },
                ]
            },
            "template": pod.template(attempt, settings),
        },
    }
