"""The names and labels of what the operator makes; makes nothing itself."""

from __future__ import annotations

MANAGER = "finetune-operator"
PROGRESS_MANAGER = "finetune-progress"
MANAGED_BY = "app.kubernetes.io/managed-by"
JOB_LABEL = "finetune.dev/job"
ATTEMPT_LABEL = "finetune.dev/attempt"
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
CHILD_LABEL = "batch.kubernetes.io/job-name"
CONTAINER = "trainer"
SELECTOR = f"{MANAGED_BY}={MANAGER}"


def child_name(job: str, attempt: int) -> str:
    """The Job of an attempt; the pods' host names are this and their index."""
    return f"{job}-{attempt}"


def job_of(child: str) -> str:
    """The job that the Job of an attempt belongs to, by its name."""
    return child.rpartition("-")[0]


def attempt_of(child: str) -> int:
    """The number of the attempt that a Job of this name is for; 0 where that is none of ours."""
    number = child.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def claim_name(job: str) -> str:
    """The claim that the operator makes for a job."""
    return f"{job}-data"


def service_name(job: str) -> str:
    """The headless Service by which the ranks of several nodes find each other."""
    return f"{job}-ranks"


def labels(job: str) -> dict[str, str]:
    """The labels of everything that belongs to a job."""
    return {MANAGED_BY: MANAGER, JOB_LABEL: job}
