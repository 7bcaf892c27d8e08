"""Builds observations for tests of decisions, in the words of a job's life; knows no cluster."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from finetune_api.trainer_contract import ProgressReport
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.status import FineTuneJobStatus, HistoryEntry
from finetune_operator import times
from finetune_operator.observation import Child, Observation, Obstacle, Pod
from tests.builders.manifests import a_manifest

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
"""The moment at which everything in these observations is seen."""
UID = "11111111-2222-3333-4444-555555555555"
CHILD_UID = "child-uid"


class JobSeen:
    """An observation to be; each method gives a changed copy. `build` gives the Observation."""

    def __init__(self, seen: Observation) -> None:
        self._seen = seen

    def build(self) -> Observation:
        return self._seen

    def with_spec(self, **fields: Any) -> JobSeen:
        assert self._seen.spec is not None
        document = {**self._seen.spec.dump(), **fields}
        return self.with_(spec=FineTuneJobSpec.model_validate(document))

    def with_status(self, **fields: Any) -> JobSeen:
        return self.with_(status=self._seen.status.model_copy(update=fields))

    def suspended(self) -> JobSeen:
        return self.with_spec(suspend=True)

    def cancelled(self) -> JobSeen:
        return self.with_spec(cancel=True)

    def blocked_by(self, reason: str, passing: bool = False) -> JobSeen:
        return self.with_(obstacle=Obstacle(reason, f"{reason} it is", passing))

    def being_deleted(self) -> JobSeen:
        return self.with_(deleting=True)

    def in_phase(self, phase: str, attempt: int = 1) -> JobSeen:
        started = times.text(NOW - timedelta(hours=1))
        return self.with_status(phase=phase, attempt=attempt, start_time=started, observed_generation=1)

    def starting(self, attempt: int = 1, since: float = 60) -> JobSeen:
        """The Job is there, with one pod that does not run yet."""
        child = Child(
            name=f"python-coder-{attempt}",
            uid=CHILD_UID,
            version="1",
            owner_uid=UID,
            created=NOW - timedelta(seconds=since),
            started=NOW - timedelta(seconds=since),
        )
        pod = a_pod(created=NOW - timedelta(seconds=since))
        return self.in_phase("Starting", attempt).with_(child=child, pods=(pod,))

    def running(self, attempt: int = 1, since: float = 60) -> JobSeen:
        """The attempt's pod runs, and the status says so."""
        started = NOW - timedelta(seconds=since)
        entry = HistoryEntry(attempt=attempt, started=times.text(started))
        seen = self.starting(attempt, since).in_phase("Running", attempt)
        history = [*(self._seen.status.history or ()), entry]
        pod = a_pod(phase="Running", started=started, address="10.0.0.1")
        return seen.with_status(history=history).with_(pods=(pod,))

    def stuck(self, trouble: str) -> JobSeen:
        return self.with_(pods=tuple(replace(pod, waiting=trouble) for pod in self._seen.pods))

    def queued(self) -> JobSeen:
        assert self._seen.child is not None
        return self.with_(child=replace(self._seen.child, suspended=True, started=None), pods=())

    def reporting(self, **fields: Any) -> JobSeen:
        report = {"uid": UID, "attempt": self._seen.attempt, "run": 1, "stage": "Training"}
        return self.with_(report=ProgressReport(**{**report, "updated_at": times.text(NOW), **fields}))

    def ended(self, kind: str | None = None, exit_code: int = 1, **record: Any) -> JobSeen:
        """The Job has failed (or is complete, for Finished) and its pod left a record of this kind."""
        assert self._seen.child is not None
        message = None
        if kind is not None:
            message = json.dumps({"uid": UID, "attempt": self._seen.attempt, "kind": kind, **record})
        finished = kind == "Finished" or (kind is None and exit_code == 0)
        pods = tuple(
            replace(
                pod,
                phase="Succeeded" if finished else "Failed",
                exit_code=0 if finished else exit_code,
                finished=NOW,
                message=message,
                node="node-a",
            )
            for pod in self._seen.pods
        )
        end = {"complete": True} if finished else {"failed": "BackoffLimitExceeded: the pod failed"}
        return self.with_(pods=pods, child=replace(self._seen.child, ended=NOW, **end))

    def with_pods(self, **fields: Any) -> JobSeen:
        return self.with_(pods=tuple(replace(pod, **fields) for pod in self._seen.pods))

    def without_child(self) -> JobSeen:
        return self.with_(child=None, pods=())

    def without_job(self) -> JobSeen:
        """The Job is gone and its pods are known still."""
        return self.with_(child=None)

    def child_deleting(self) -> JobSeen:
        assert self._seen.child is not None
        return self.with_(child=replace(self._seen.child, deleting=NOW))

    def with_(self, **fields: Any) -> JobSeen:
        return JobSeen(replace(self._seen, **fields))


def a_job() -> JobSeen:
    """A job that was just created: accepted by nobody yet, no attempt there."""
    return JobSeen(
        Observation(
            name="python-coder",
            namespace="team",
            uid=UID,
            version="7",
            generation=1,
            created=NOW - timedelta(minutes=1),
            spec=FineTuneJobSpec.model_validate(a_manifest().document["spec"]),
            status=FineTuneJobStatus(),
        )
    )


def past(reason: str, attempt: int = 1, seconds_ago: float = 0, to_step: int | None = None) -> HistoryEntry:
    """A run that has ended."""
    ended = NOW - timedelta(seconds=seconds_ago)
    started = times.text(ended - timedelta(minutes=1))
    return HistoryEntry(attempt=attempt, started=started, ended=times.text(ended), reason=reason, to_step=to_step)


def a_pod(**fields: Any) -> Pod:
    """A pod of the first attempt, pending."""
    base: dict[str, Any] = {
        "name": "python-coder-1-0-abcde",
        "uid": "pod-uid",
        "version": "1",
        "child": "python-coder-1",
        "child_uid": CHILD_UID,
        "index": 0,
        "phase": "Pending",
    }
    return Pod(**{**base, **fields})
