"""What a reconcile knows of one job, as plain values; reads nothing and decides nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from finetune_api.trainer_contract import AttemptRecord, ProgressReport
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import FineTuneJobStatus, JobStatus

from . import names, times

NODE_LOST = "NodeLost"
"""status.reason of a pod that the operator gave up with its node."""
LOST_AFTER = timedelta(seconds=60)
"""How long after its grace a pod under deletion on a dead node is given up."""
_UNSCHEDULABLE = ("Unschedulable", "SchedulingGated")


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of an attempt, with what matters of it; small, since the cache holds all of them."""

    name: str
    uid: str
    version: str
    child: str
    """Name of the Job that made it."""
    child_uid: str | None
    index: int
    phase: str
    address: str | None = None
    node: str | None = None
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    exit_code: int | None = None
    end_reason: str | None = None
    """The container's: Completed, Error, OOMKilled ..."""
    message: str | None = None
    """The termination message."""
    waiting: str | None = None
    """Why it does not start, where that is a trouble: `reason: message`."""
    disruption: str | None = None
    """The reason of a DisruptionTarget condition."""
    delete_by: datetime | None = None
    """Under deletion: when its grace ends."""
    delete_asked: datetime | None = None
    gone: bool = False
    """Seen to be deleted from the API; kept for its record until the attempt is over."""

    @property
    def ended(self) -> bool:
        return self.gone or self.exit_code is not None or self.phase in ("Succeeded", "Failed")

    def passes(self, before: Pod | None) -> bool:
        """Whether it starts without trouble, now and before, or has succeeded: its Job is about to be complete."""
        if self.delete_by is not None:
            return False
        waited = before is not None and before.waiting is not None
        return self.phase == "Succeeded" or (self.phase == "Pending" and self.waiting is None and not waited)

    def record(self, job_uid: str) -> AttemptRecord | None:
        """The trainer's own account of the end, where there is a true one of this job."""
        if not self.message:
            return None
        try:
            record = AttemptRecord.load(self.message)
        except ValueError:
            return None
        return record if record.uid == job_uid else None

    @classmethod
    def of(cls, document: dict[str, Any]) -> Pod:
        metadata, status = document["metadata"], document.get("status") or {}
        conditions = {c["type"]: c for c in status.get("conditions") or ()}
        containers = {c["name"]: c for c in status.get("containerStatuses") or ()}
        container: dict[str, Any] = containers.get(names.CONTAINER, {})
        state = container.get("state") or {}
        ended, running = state.get("terminated") or {}, state.get("running") or {}
        delete_by = times.parse(metadata.get("deletionTimestamp"))
        grace = timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
        disruption = conditions.get("DisruptionTarget") or {}
        owner: dict[str, Any] = next(iter(metadata.get("ownerReferences") or ()), {})
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            version=metadata.get("resourceVersion", ""),
            child=(metadata.get("labels") or {}).get(names.CHILD_LABEL, ""),
            child_uid=owner.get("uid"),
            index=int((metadata.get("annotations") or {}).get(names.COMPLETION_INDEX, 0)),
            phase=status.get("phase", "Pending"),
            address=status.get("podIP"),
            node=(document.get("spec") or {}).get("nodeName"),
            created=times.parse(metadata.get("creationTimestamp")),
            started=times.parse(running.get("startedAt") or ended.get("startedAt")),
            finished=times.parse(ended.get("finishedAt")),
            exit_code=ended.get("exitCode"),
            end_reason=ended.get("reason") or status.get("reason"),
            message=ended.get("message"),
            waiting=_trouble(state.get("waiting") or {}, conditions.get("PodScheduled") or {}),
            disruption=disruption.get("reason", "Disrupted") if disruption.get("status") == "True" else None,
            delete_by=delete_by,
            delete_asked=delete_by - grace if delete_by else None,
        )

    def as_gone(self) -> Pod:
        return replace(self, gone=True)


def _trouble(waiting: dict[str, Any], scheduled: dict[str, Any]) -> str | None:
    if scheduled.get("status") == "False" and scheduled.get("reason") in _UNSCHEDULABLE:
        return f"{scheduled['reason']}: {scheduled.get('message', '')}"
    reason = waiting.get("reason")
    if reason in (None, "ContainerCreating", "PodInitializing"):
        return None
    if reason == "CreateContainerConfigError" and "secret" in waiting.get("message", "").lower():
        reason = "SecretNotFound"
    return f"{reason}: {waiting.get('message', '')}"


@dataclass(frozen=True, slots=True)
class Child:
    """The Job of an attempt."""

    name: str
    uid: str
    version: str
    owner_uid: str | None
    created: datetime | None = None
    started: datetime | None = None
    """When it began, or began again after a suspension. While suspended it may be taken away: by Kueue, and by the Job
    controller of newer Kubernetes."""
    deleting: datetime | None = None
    suspended: bool = False
    complete: bool = False
    failed: str | None = None
    """`reason: message` of the Failed condition."""
    ended: datetime | None = None
    terminating: int = 0

    @property
    def over(self) -> bool:
        """Complete or Failed, and no pod is left running."""
        return (self.complete or self.failed is not None) and self.terminating == 0

    def passes(self, before: Child | None) -> bool:
        """Whether it is not held, now and before, nor ends, nor goes: its pods tell the rest."""
        held = self.suspended or (before is not None and before.suspended)
        return not (held or self.complete or self.failed is not None or self.deleting)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Child:
        metadata, status = document["metadata"], document.get("status") or {}
        conditions = {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
        end = conditions.get("Complete") or conditions.get("Failed")
        failed = conditions.get("Failed")
        owner: dict[str, Any] = next((o for o in metadata.get("ownerReferences") or () if o.get("controller")), {})
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            version=metadata.get("resourceVersion", ""),
            owner_uid=owner.get("uid"),
            created=times.parse(metadata.get("creationTimestamp")),
            started=times.parse(status.get("startTime")),
            deleting=times.parse(metadata.get("deletionTimestamp")),
            suspended=bool((document.get("spec") or {}).get("suspend")),
            complete="Complete" in conditions,
            failed=f"{failed.get('reason', 'Failed')}: {failed.get('message', '')}" if failed else None,
            ended=times.parse(end.get("lastTransitionTime")) if end else None,
            terminating=status.get("terminating") or 0,
        )


@dataclass(frozen=True)
class Obstacle:
    """Something outside the job that keeps it from starting; it may go away by itself."""

    reason: str
    message: str
    passing: bool = False
    """Known to go soon: wait without a word."""
    waiting: bool = False
    """Nothing is wrong: the job's turn has not come yet."""


@dataclass(frozen=True)
class Observation:
    """One job, its current attempt and everything a decision needs, at one moment."""

    name: str
    namespace: str
    uid: str
    version: str
    """resourceVersion: what is decided about is what is written to."""
    generation: int
    created: datetime
    spec: FineTuneJobSpec | None
    """None when the stored spec is not valid for this operator; `invalid` says why."""
    status: FineTuneJobStatus
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    invalid: str | None = None
    deleting: bool = False
    child: Child | None = None
    """The current attempt's Job; None is certain: the API server was asked."""
    made_ago: float | None = None
    """Seconds since this operator made the job's first Job, where the status does not say so yet."""
    made_beside: int = 0
    """How many jobs are at that point."""
    older_child: Child | None = None
    """The Job of the attempt before the last, which is no longer of use."""
    stray: tuple[Child, ...] = ()
    """Jobs of earlier attempts that still go on: made late, by an operator that another one had replaced meanwhile."""
    pods: tuple[Pod, ...] = ()
    """The pods of the current attempt, those gone from the API included."""
    replaced: tuple[Pod, ...] = ()
    """Pods of the current attempt that another one has followed: of runs that its queue stopped."""
    left_over: tuple[Pod, ...] = ()
    """Pods of other Jobs of this name that have not ended, where no attempt of this FineTuneJob is there."""
    lost_pods: tuple[Pod, ...] = ()
    """Pods whose node is gone and whose grace is long over."""
    report: ProgressReport | None = None
    complaint: Obstacle | None = None
    """What others say of pods that are not made or not set up, where the pods say nothing; Kueue too, of a Job that it
    holds."""
    obstacle: Obstacle | None = None
    jobs: tuple[JobStatus, ...] = ()
    """The jobs whose results this one begins with, the nearest first."""

    @property
    def attempt(self) -> int:
        return self.status.attempt or 1

    @property
    def in_the_way(self) -> tuple[Pod, ...]:
        """Pods that have not ended, where no attempt is there: nothing may be started beside them."""
        return tuple(pod for pod in (*self.pods, *self.left_over) if not pod.ended)

    def is_before(self, pod: Pod) -> bool:
        """Whether a pod is of an earlier FineTuneJob of this name, told by its age."""
        return pod.created is not None and pod.created < self.created

    @property
    def nodes(self) -> int:
        compute = self.spec.compute if self.spec else None
        return (compute.nodes if compute else None) or 1


def newest(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """The newest pod of each index, one that has not ended before all others: a Job that its queue stopped and let go
    on has those of both runs, and nothing may be started beside the one that is left."""
    latest: dict[int, Pod] = {}
    for pod in pods:
        known = latest.get(pod.index)
        if known is None or _age(pod) >= _age(known):
            latest[pod.index] = pod
    return tuple(latest.values())


def _age(pod: Pod) -> tuple[bool, float]:
    return not pod.ended, pod.created.timestamp() if pod.created else 0.0


def running(pods: Iterable[Pod]) -> int:
    """How many of the pods run now."""
    return sum(pod.phase == "Running" and not pod.ended for pod in pods)
