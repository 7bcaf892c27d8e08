"""Loses or holds back what watches tell of single jobs, and lets lists be old; all else passes to the operator."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

_EXPIRED = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}
_OLD_SECONDS = 10.0
_LISTED = frozenset({"finetunejobs", "jobs", "pods"})
Send = Callable[[bytes], None]


@dataclass
class _Plan:
    """What is to happen to one job."""

    lose: Callable[[int], bool] = lambda event: False
    hold_after: int = 0
    hold_seconds: float = 0.0
    old_lists: bool = False
    before: int = 0
    """The newest resourceVersion that was told when the last write was asked for."""
    events: int = 0
    writes: list[str] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)
    held: list[tuple[Send, bytes]] | None = None


@dataclass
class _Old:
    """Lists that are to be old, once of each kind, for one job."""

    version: int
    plan: _Plan
    until: float
    pending: set[str] = field(default_factory=lambda: set(_LISTED))


class WatchFaults:
    """Plans by the names of jobs. Events and writes of a job are counted from 1; raised events are no writes."""

    def __init__(self) -> None:
        self._newest = 0
        self._old: list[_Old] = []
        self._plans: dict[str, _Plan] = {}
        self._streams: list[_Stream] = []
        self._lock = threading.RLock()

    def lose(self, job: str, event: int) -> None:
        """Loses one event of the job."""
        self._plan(job).lose = lambda number: number == event

    def lose_all(self, job: str, after: int) -> None:
        """Loses every event of the job after the first ones."""
        self._plan(job).lose = lambda number: number > after

    def hold(self, job: str, write: int, seconds: float) -> None:
        """Lets the watches tell nothing of the job for a while after one of the operator's writes for it."""
        plan = self._plan(job)
        plan.hold_after, plan.hold_seconds = write, seconds

    def list_old(self, job: str, write: int, seconds: float) -> None:
        """As `hold`, and all watches end: the lists that follow are those of before the write."""
        self.hold(job, write, seconds)
        self._plan(job).old_lists = True

    def struck(self, job: str) -> list[str]:
        """What was lost of the job, or the write after which its events were held back, and lists that were old."""
        return self._plan(job).struck

    def events(self, job: str) -> int:
        """How many events of the job there were."""
        return self._plan(job).events

    def writes(self, job: str) -> list[str]:
        """The operator's writes for the job."""
        return self._plan(job).writes

    def expire(self) -> None:
        """Ends all watches, as a server does that no longer knows where they were."""
        with self._lock:
            streams, self._streams = self._streams, []
            for stream in streams:
                stream.expire()

    # The proxy's side

    def asked(self, verb: str, path: str, body: bytes) -> str:
        """Told of a request; returns the path to ask the API server for."""
        about, _, query = path.partition("?")
        kind = about.rpartition("/")[2]
        with self._lock:
            if verb != "GET":
                job = _job_of_write(path, body)
                if job is not None:
                    self._plan(job).before = self._newest
            elif kind in _LISTED and "limit=" in query and "continue=" not in query:
                return self._list(path, kind)  # for a cache; lists for decisions have no limit, and are never old
        return path

    def _list(self, path: str, kind: str) -> str:
        """A list as of the oldest version that some job still asks for."""
        here = [old for old in self._old if kind in old.pending and time.monotonic() < old.until]
        if not here:
            return path
        oldest = min(old.version for old in here)
        for old in here:
            old.pending.remove(kind)
            old.plan.struck.append(f"{kind} as of {oldest}")
        return f"{path}&resourceVersion={oldest}&resourceVersionMatch=Exact"

    def listed(self, path: str, answer: bytes) -> None:
        """Told of the answer to a list, before the operator hears of it."""
        if path.partition("?")[0].rpartition("/")[2] in _LISTED:
            with self._lock:
                self._has_been_told(json.loads(answer))

    def _has_been_told(self, document: dict[str, Any]) -> None:
        self._newest = max(self._newest, int(document["metadata"].get("resourceVersion") or 0))

    def written(self, verb: str, path: str, body: bytes) -> None:
        """Told of a write that the API server has answered, before the operator hears of the answer."""
        job = _job_of_write(path, body)
        if job is None:
            return
        with self._lock:
            plan = self._plan(job)
            plan.writes.append(f"{verb} {path}")
            if len(plan.writes) != plan.hold_after:
                return
            plan.struck.append(plan.writes[-1])
            plan.held = []
            threading.Timer(plan.hold_seconds, self._release, [plan]).start()
            if plan.old_lists:
                self._old.append(_Old(plan.before, plan, time.monotonic() + _OLD_SECONDS))
                self.expire()

    def relay(self, kind: str, lines: Iterable[bytes], send: Send, end: Callable[[], None]) -> None:
        """Passes a watch on, until it ends."""
        stream = _Stream(send, end)
        with self._lock:
            self._streams.append(stream)
            if any(kind in old.pending and time.monotonic() < old.until for old in self._old):
                self._streams.remove(stream)  # what it begins with is not as old as it is to be
                stream.expire()
                return
        for line in lines:
            with self._lock:
                if stream not in self._streams:
                    return
                self._pass_on(line, send)

    def _pass_on(self, line: bytes, send: Send) -> None:
        event = json.loads(line)
        self._has_been_told(event["object"])
        job = _job_of_event(event)
        if job is None:
            send(line)
            return
        plan = self._plan(job)
        plan.events += 1
        if plan.lose(plan.events):
            plan.struck.append(_described(event))
        elif plan.held is not None:
            plan.held.append((send, line))
        else:
            send(line)

    def _release(self, plan: _Plan) -> None:
        with self._lock:
            held, plan.held = plan.held or [], None
            for send, line in held:
                with suppress(OSError):  # that watch has ended meanwhile
                    send(line)

    def _plan(self, job: str) -> _Plan:
        return self._plans.setdefault(job, _Plan())


@dataclass(eq=False)
class _Stream:
    send: Send
    end: Callable[[], None]

    def expire(self) -> None:
        """Ends it as a server does that no longer knows where it was."""
        with suppress(OSError):
            self.send(json.dumps({"type": "ERROR", "object": _EXPIRED}).encode() + b"\n")
        self.end()


def _job_of_event(event: dict[str, Any]) -> str | None:
    document = event["object"]
    if document.get("kind") == "FineTuneJob" and event["type"] != "BOOKMARK":
        return str(document["metadata"]["name"])
    return _job_of_labels(document)


def _job_of_labels(document: dict[str, Any]) -> str | None:
    return (document.get("metadata", {}).get("labels") or {}).get("finetune.dev/job")


def _job_of_write(path: str, body: bytes) -> str | None:
    parts = path.partition("?")[0].split("/")
    if "events" in parts:
        return None
    if "finetunejobs" in parts:
        return parts[parts.index("finetunejobs") + 1]
    if "jobs" in parts[:-1]:
        return parts[parts.index("jobs") + 1].rpartition("-")[0]
    return _job_of_labels(json.loads(body)) if body else None


def _described(event: dict[str, Any]) -> str:
    document = event["object"]
    status = document.get("status") or {}
    ended = [condition["type"] for condition in status.get("conditions") or () if condition["status"] == "True"]
    return f"{event['type']} {document['kind']} {document['metadata']['name']} {status.get('phase', '')} {ended}"
