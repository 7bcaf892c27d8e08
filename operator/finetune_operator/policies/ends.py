"""How an attempt ended, read from its Job, its pods and the trainer's own record; not what follows from it."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from finetune_api.trainer_contract import VOLUME_FULL, AttemptRecord, EndKind, ExitCode

from .. import times
from ..observation import NODE_LOST, Observation, Pod
from . import deadline

EndName = Literal[
    "Finished",
    "UserError",
    "DeviceOutOfMemory",
    "HostOutOfMemory",
    "Diverged",
    "Interrupted",
    "Disrupted",
    "Hang",
    "DeviceUnavailable",
    "Crash",
    "StartDeadlineExceeded",
    "DeadlineExceeded",
]
CREATED = frozenset({"Queued", "Starting", "Running", "Suspending"})
"""Phases in which the attempt's Job has been made: when it is not there, it is gone."""
INTENDED: dict[str, EndName] = {
    "StartDeadlineExceeded": "StartDeadlineExceeded",
    "DeadlineExceeded": "DeadlineExceeded",
    "Hang": "Hang",
}
"""Reasons for which the operator itself ends an attempt; written to status.failure before the Job is deleted."""
_DECISIVE = frozenset({"UserError", "DeviceOutOfMemory", "HostOutOfMemory", "Diverged", "Hang", "DeviceUnavailable"})
_DISRUPTIONS = {
    "PreemptionByScheduler": "Preempted",
    "EvictionByEvictionAPI": "Evicted",
    "TerminationByKubelet": "Evicted",
    "DeletionByTaintManager": "NodeLost",
    "DeletionByPodGC": "NodeLost",
}
_NAMES: dict[EndKind, EndName] = {
    EndKind.FINISHED: "Finished",
    EndKind.USER_ERROR: "UserError",
    EndKind.DEVICE_OUT_OF_MEMORY: "DeviceOutOfMemory",
    EndKind.HOST_OUT_OF_MEMORY: "HostOutOfMemory",
    EndKind.DIVERGED: "Diverged",
    EndKind.INTERRUPTED: "Interrupted",
    EndKind.HANG: "Hang",
    EndKind.DEVICE_UNAVAILABLE: "DeviceUnavailable",
    EndKind.INTERNAL_ERROR: "Crash",
}
_CAUSE = ("rank", "exit_code", "signal", "node", "ended_at")
_CAUSES = frozenset({VOLUME_FULL})
_EXIT_CODE = re.compile(r"exit code (\d+)")


@dataclass(frozen=True)
class End:
    """The end of an attempt: its kind, and what is known of the pod that decided it."""

    name: EndName
    at: datetime
    reason: str
    """For history: the name, a closer word (VolumeFull), or what disrupted it (Evicted, Preempted, NodeLost,
    PodDeleted, JobDeleted)."""
    message: str = ""
    pod: Pod | None = None
    record: AttemptRecord | None = None

    @property
    def collateral(self) -> bool:
        """Whether it only followed from another pod's end."""
        return self.record is not None and self.record.collateral

    @property
    def exit_code(self) -> int | None:
        from_record = self.record.exit_code if self.record else None
        return from_record if from_record is not None else (self.pod.exit_code if self.pod else None)

    @property
    def signal(self) -> str | None:
        if self.record and self.record.signal:
            return self.record.signal
        code = self.pod.exit_code if self.pod else None
        if code is None or code <= 128:
            return None
        try:
            return signal.Signals(code - 128).name
        except ValueError:
            return None


def attempt_end(seen: Observation, now: datetime) -> End | None:
    """How the current attempt ended, or None when it has not (or has not begun)."""
    child = seen.child
    if child is None and seen.status.phase not in CREATED:
        return None
    if child is not None and not child.over:
        return None
    if child is None and not all(pod.ended for pod in seen.pods):
        return None  # deleted in the background, as kubectl does: its pods go on to the end of their grace
    at = (child.ended if child else None) or now
    ended = [pod for pod in of_this_run(seen) if pod.ended]
    if child is not None and child.complete:
        return _finished(seen, at, ended)
    end = _of_pods(seen, at, ended) or _of_job(seen, at)
    name = intended(seen, now)
    if name is not None and _follows_from_deletion(end):
        said = seen.status.failure.message if seen.status.failure else None
        return End(name, at, name, said or "", end.pod, end.record)
    return end


def of_this_run(seen: Observation) -> tuple[Pod, ...]:
    """The pods without those whose run is in history already: a queue stopped their Job, and none has followed yet."""
    last = seen.status.history[-1] if seen.status.history else None
    began = times.parse(last.started) if last and last.attempt == seen.attempt else None
    ended = times.parse(last.ended) if last else None
    if began is None or ended is None:
        return seen.pods
    return tuple(pod for pod in seen.pods if not _was_of(pod, began, ended))


def _was_of(pod: Pod, began: datetime, ended: datetime) -> bool:
    """Whether a pod that has ended was of this run, by the clocks of its node and of the API server."""
    return pod.ended and pod.started is not None and pod.started <= began and (pod.created or began) < ended


def intended(seen: Observation, now: datetime) -> EndName | None:
    """Why the operator itself ends the current attempt, where it has written that down. A deadline that was raised
    since then is none; the clock that tells is the one that told before."""
    failure = seen.status.failure
    name = INTENDED.get(failure.reason) if failure and failure.attempt == seen.attempt else None
    return None if name == "DeadlineExceeded" and not deadline.passed(seen, now) else name


def is_withdrawn(seen: Observation, now: datetime) -> bool:
    """Whether what was written down as the end of the current attempt has become none: its deadline was raised."""
    failure = seen.status.failure
    meant = failure is not None and failure.attempt == seen.attempt and failure.reason in INTENDED
    return meant and intended(seen, now) is None


def _follows_from_deletion(end: End) -> bool:
    """Whether the attempt may have ended so because its Job was deleted."""
    torn_down = end.name == "Crash" and end.pod is not None and end.pod.delete_asked is not None
    return torn_down or end.name in ("Interrupted", "Disrupted")


def _finished(seen: Observation, at: datetime, pods: list[Pod]) -> End:
    first = next((pod for pod in sorted(pods, key=lambda p: p.index)), None)
    return End("Finished", at, "Finished", "", first, first.record(seen.uid) if first else None)


def _of_job(seen: Observation, at: datetime) -> End:
    """Without pods: what the Job's own condition says, else that somebody took it away."""
    if seen.child is None:
        return End("Disrupted", at, "JobDeleted", f"the Job of attempt {seen.attempt} was deleted")
    failed = seen.child.failed or ""
    code = _EXIT_CODE.search(failed)
    if code:
        name = _of_exit_code(int(code.group(1)))
        return End(name, at, name, failed)
    return End("Disrupted", at, "PodDeleted", failed)


def _of_pods(seen: Observation, at: datetime, pods: list[Pod]) -> End | None:
    """The pod whose end came first among those that say most and did not follow from another's."""
    all_ends = sorted((_of_pod(pod, seen.uid, at) for pod in pods), key=lambda end: _moment(end, at))
    ends = [end for end in all_ends if not end.collateral and end.name != "Finished"] or all_ends
    if all(end.collateral for end in ends):
        ends = [replace(end, name="Disrupted", reason="Disrupted") if _only_noticed(end) else end for end in ends]
    found = _decisive(seen, ends)
    return _with_the_leaders_account(found, all_ends) if found is not None else None


def _only_noticed(end: End) -> bool:
    """Whether a pod ended because it lost sight of another, and was not told of a rank that failed there: a network
    that broke, or a pod that is gone with whatever it had to say."""
    record = end.record
    told = record is not None and record.rank is not None and end.pod is not None and record.node != end.pod.index
    return end.name == "Crash" and not told


def _moment(end: End, at: datetime) -> tuple[datetime, int]:
    """When the first rank there ended, by the trainer's clock where it says so; a pod's own times are whole seconds."""
    index = end.pod.index if end.pod else 0
    said = end.record.ended_at if end.record else None
    try:
        moment = times.parse(said)
    except ValueError:
        moment = None
    finished = end.pod.finished if end.pod else None
    return (moment if moment and moment.tzinfo else None) or finished or at, index


def _with_the_leaders_account(end: End, ends: list[End]) -> End:
    """Adds what only the pod of rank 0 knows (steps, checkpoints, what it ran with), and finds the pod to blame."""
    to_blame = end.pod
    if end.record is not None and end.record.collateral and end.record.node is not None:
        to_blame = next((e.pod for e in ends if e.pod and e.pod.index == end.record.node), end.pod)
    leader = next((e.record for e in ends if e.pod and e.pod.index == 0 and e.record), None)
    if leader is None or leader is end.record:
        return replace(end, pod=to_blame)
    cause = {name: getattr(end.record, name) if end.record else None for name in _CAUSE}
    texts = {name: getattr(end.record, name) if end.record else "" for name in ("message", "advice")}
    return replace(end, pod=to_blame, record=leader.model_copy(update={**cause, **texts}))


def _decisive(seen: Observation, ends: list[End]) -> End | None:
    decisive = next((end for end in ends if end.name in _DECISIVE), None)
    if decisive:
        return decisive
    crash = next((end for end in ends if end.name == "Crash"), None)
    disrupted = next((end for end in ends if end.name in ("Disrupted", "Interrupted")), None)
    if crash and disrupted and not _came_before(disrupted, crash):
        return crash
    # Everything but a success is weaker than a Job that failed or was taken away.
    return disrupted or crash or next((end for end in ends if seen.child is None), None)


def _came_before(disrupted: End, crash: End) -> bool:
    """Whether a disruption explains a crash elsewhere: the Job controller itself deletes the others after a crash."""
    pod, crashed = disrupted.pod, crash.pod
    if pod is None or crashed is None or pod is crashed:
        return False
    if pod.disruption:
        return True
    return bool(pod.delete_asked and crashed.finished and pod.delete_asked < crashed.finished)


def _of_pod(pod: Pod, job_uid: str, at: datetime) -> End:
    record = pod.record(job_uid)
    when = pod.finished or at
    disruption = _DISRUPTIONS.get(pod.disruption, "Disrupted") if pod.disruption else None
    if record is not None:
        name = _name(record.kind)
        closer = record.cause if record.cause in _CAUSES else None
        reason = disruption if disruption and name == "Interrupted" else closer or name
        return End(name, at, reason, record.message, pod, record)
    if pod.end_reason == "OOMKilled":
        return End("HostOutOfMemory", when, "HostOutOfMemory", "the container was killed for its memory", pod)
    if pod.end_reason == NODE_LOST:
        return End("Disrupted", at, NODE_LOST, f"pod {pod.name}: node {pod.node} was lost", pod)
    if disruption:
        return End("Disrupted", at, disruption, f"pod {pod.name}: {pod.disruption}", pod)
    if pod.exit_code == 0:
        return End("Finished", at, "Finished", "", pod)
    if pod.exit_code is not None and _of_exit_code(pod.exit_code) != "Crash":
        name = _of_exit_code(pod.exit_code)
        return End(name, at, name, f"the trainer ended with {pod.exit_code} and left no record", pod)
    if pod.exit_code is None or pod.delete_asked is not None:
        return End("Disrupted", at, "PodDeleted", f"pod {pod.name} was deleted", pod)
    return End("Crash", at, "Crash", f"the trainer ended with exit code {pod.exit_code} and left no record", pod)


def _name(kind: EndKind) -> EndName:
    return _NAMES[kind]


def _of_exit_code(code: int) -> EndName:
    return _name(ExitCode(code).kind) if code in list(ExitCode) else "Crash"
