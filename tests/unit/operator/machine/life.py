"""One job under the real Controller: events to be played, the operator's work, and what must hold all the time."""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from contextlib import ExitStack
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import structlog
from structlog.typing import EventDict

from finetune_api.trainer_contract import EndKind
from finetune_operator import cache, controller, events, observe, progress
from finetune_operator.controller import Controller
from finetune_operator.events import QUIET_SECONDS
from finetune_operator.kube.protocol import EVENT, FINE_TUNE_JOB, JOB, POD, Document, Kind
from finetune_operator.names import COMPLETION_INDEX
from finetune_operator.queue import WorkQueue
from finetune_operator.settings import Settings
from tests.builders.manifests import a_manifest

from .api_server import ApiServer, owners
from .clock import Clock, Loop
from .cluster import Cluster, phase
from .connection import Connection

NAME = a_manifest().name
MAXIMUM_RETRIES = 2
TERMINAL = ("Succeeded", "Failed", "Cancelled")
SETTINGS = Settings(workers=2)
_PASSING_SECONDS = 0.25
"""Shorter than in earnest, so that cluster and operator come to rest while nothing else is due."""


class Life:
    """The operator, its cluster and the clock. Close it."""

    def __init__(self, nodes: int = 1, suspended: bool = False) -> None:
        self.clock = Clock()
        self.api = ApiServer(self.clock)
        self.cluster = Cluster(self.api)
        self.broken: list[str] = []
        """What did not hold, in words."""
        self.restarts = 0
        self._said: dict[tuple[str, str], float] = {}
        self.api.watcher = self._check
        self._manifest = (
            a_manifest()
            .on_nodes(nodes)
            .retrying(maxRetries=MAXIMUM_RETRIES, onDivergence="RewindOnce")
            .suspended(suspended)
        )
        self._patches = self._fake_clocks()
        self.loop = Loop(self.clock)
        self.loop.set_exception_handler(lambda loop, context: None)  # of tasks that died with their process
        self.apply()
        self._start()

    def _fake_clocks(self) -> ExitStack:
        stack = ExitStack()
        for module in (cache, controller, events, observe, progress):
            stack.enter_context(patch.object(module, "time", SimpleNamespace(monotonic=self.clock.monotonic)))
        stack.enter_context(patch.object(controller, "PASSING_SECONDS", _PASSING_SECONDS))
        stack.enter_context(patch.object(controller, "WorkQueue", partial(WorkQueue, self.clock.queue)))
        errors = structlog.make_filtering_bound_logger(logging.ERROR)
        structlog.configure(wrapper_class=errors, processors=[self._hear_log])
        return stack

    def _hear_log(self, logger: Any, method: str, entry: EventDict) -> EventDict:
        """A reconcile that breaks is only logged by the controller; here it is a bug found."""
        self.broken.append(
            "".join(traceback.format_exception(sys.exception())) if entry.get("exc_info") else str(entry)
        )
        raise structlog.DropEvent

    def close(self) -> None:
        self._stop()
        self.loop.close()
        structlog.reset_defaults()
        self._patches.close()

    # The operator

    def _start(self) -> None:
        """A new process: nothing in memory, and a listing of everything."""
        self.connection = Connection(self.api, self.cluster)
        asyncio.set_event_loop(self.loop)
        self.controller = Controller(self.connection, SETTINGS, self.clock.now)
        self.connection.list_again(self.controller)
        self._process = self.loop.create_task(self.controller.run())

    def _stop(self) -> None:
        self.connection.dead = True
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, self._process, return_exceptions=True))

    def crash(self) -> None:
        """The operator's process dies where it stands and is started again."""
        self._stop()
        self.restarts += 1
        self._start()

    def work(self) -> None:
        """The operator does what it knows of and what is due."""
        for _ in range(10):
            self.loop.settle()
            if not self.connection.dead:
                return
            self.crash()

    def hear(self, kinds: tuple[Kind, ...] = (FINE_TUNE_JOB, JOB, POD), most: int = 1 << 30) -> None:
        """The watch tells what it has, or some of it, and then no look waits for more to follow."""
        self.connection.tell(self.controller.take, kinds, most)
        if not self.loop.is_running():  # else it happens while the operator works
            self.clock.seconds += _PASSING_SECONDS

    def flow(self) -> None:
        """Cluster and operator come to rest without the clock."""
        for _ in range(100):
            version = self.api.version
            self.cluster.move()
            self.hear()
            self.work()
            if self.api.version == version and not self.connection.behind():
                return
        raise AssertionError("operator and cluster do not come to rest")

    def pass_time(self, seconds: float) -> None:
        """Time goes on in pieces, so that what is due happens about when it is."""
        until = self.clock.seconds + seconds
        while self.clock.seconds < until:
            self.clock.seconds = min(until, self.clock.seconds + max(1.0, seconds / 10))
            self.work()

    # What users do

    def apply(self) -> None:
        if self.api.find(FINE_TUNE_JOB, NAME) is None:
            self.api.create(FINE_TUNE_JOB, self._manifest.document)

    def edit(self, **spec: Any) -> None:
        job = self.job()
        if job is None or (job["spec"].get("cancel") and "cancel" in spec):
            return
        self.api.change(FINE_TUNE_JOB, NAME, spec=spec)

    def delete_job(self, *, foreground: bool) -> None:
        self.api.delete(FINE_TUNE_JOB, NAME, foreground=foreground)

    def delete_child(self, *, foreground: bool) -> None:
        for child in self.api.all(JOB)[-1:]:
            self.api.delete(JOB, child["metadata"]["name"], foreground=foreground)

    def hold(self, value: bool, keeps_start_time: bool = False) -> None:
        """What a queue does to the Job that is there."""
        self.cluster.keeps_start_time = keeps_start_time
        for child in self.api.all(JOB)[-1:]:
            if "deletionTimestamp" not in child["metadata"] and child["spec"].get("suspend", False) != value:
                self.api.change(JOB, child["metadata"]["name"], spec={"suspend": value})

    # What is

    def job(self) -> Document | None:
        return self.api.find(FINE_TUNE_JOB, NAME)

    def uid(self) -> str | None:
        job = self.job()
        return str(job["metadata"]["uid"]) if job else None

    def status(self) -> dict[str, Any]:
        return (self.job() or {}).get("status") or {}

    def live_attempts(self, name: str = NAME) -> set[str]:
        """The Jobs of which pods run, gone Jobs and those of earlier FineTuneJobs of this name included."""
        return {
            owners(pod)[0]
            for pod in self.cluster.running()
            if self.cluster.trainers[pod["metadata"]["name"]].config.job.name == name
        }

    def own_attempts(self, name: str) -> set[str]:
        """Those of them that are of the FineTuneJob that is there."""
        job = self.api.find(FINE_TUNE_JOB, name)
        mine = {
            pod for pod, one in self.cluster.trainers.items() if job and one.config.job.uid == job["metadata"]["uid"]
        }
        return {owners(pod)[0] for pod in self.cluster.running() if pod["metadata"]["name"] in mine}

    # What must hold at every write

    def _check(self, kind: Kind, before: Document | None, after: Document) -> None:
        if kind == EVENT and before is None:
            self._check_event(after)
        if kind == FINE_TUNE_JOB and before is not None:
            self._check_status(after["metadata"]["name"], before.get("status") or {}, after.get("status") or {})
        if kind == POD and phase(after) == "Running" and (before is None or phase(before) != "Running"):
            self._check_start(after)

    def _check_status(self, name: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        moved = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        if before.get("phase") in TERMINAL and moved not in ([], ["observedGeneration"]):
            self.broken.append(f"{before['phase']} was not the end: {after.get('phase')} with other {moved}")
        if after.get("attempt", 1) - before.get("attempt", 1) not in (0, 1):
            self.broken.append(f"attempt went from {before.get('attempt')} to {after.get('attempt')}")
        used = sum(after.get("restarts", {}).get(kind, 0) for kind in ("failures", "hangs"))
        if used > MAXIMUM_RETRIES:
            self.broken.append(f"{used} retries were used up")
        if (after.get("restarts", {}).get("divergences") or 0) > 1:
            self.broken.append("it went back before a divergence more than once")
        if len(after.get("history", [])) > 20:
            self.broken.append(f"{len(after['history'])} lines of history")
        at_rest = after.get("phase") in (*TERMINAL, "Suspended")
        if at_rest and before.get("phase") != after["phase"] and self.own_attempts(name):
            self.broken.append(f"{after['phase']}, and {sorted(self.own_attempts(name))} live")
        if after.get("activeSeconds", 0) < before.get("activeSeconds", 0):
            self.broken.append("activeSeconds fell")

    def _check_start(self, pod: Document) -> None:
        trainer = self.cluster.trainers[pod["metadata"]["name"]]
        mine = owners(pod)[0]
        twins = [one for one in self.cluster.running() if _place(one) == _place(pod)]
        if len(twins) > 1:
            self.broken.append(f"{len(twins)} pods run in the place of {pod['metadata']['name']}")
        diverged = self.status().get("effective", {}).get("divergedAt")
        if trainer.config.job.uid == (self.job() or {}).get("metadata", {}).get("uid") and (
            trainer.config.diverged_at != diverged
        ):
            self.broken.append(f"attempt {trainer.config.attempt} goes back before {trainer.config.diverged_at}")
        others = self.live_attempts(trainer.config.job.name) - {mine}
        if others:
            self.broken.append(f"attempt {trainer.config.attempt} starts beside {sorted(others)}")
        newest = self.cluster.newest(trainer.config.job.name)
        if sum(one is trainer for one in self.cluster.trainers.values()) == 1 and trainer.from_step != newest:
            self.broken.append(
                f"attempt {trainer.config.attempt} starts at {trainer.from_step} of {trainer.place}, not at {newest}"
            )

    def _check_event(self, event: Document) -> None:
        kind, now = (event["regarding"]["uid"], event["reason"]), self.clock.seconds
        if now - self._said.get(kind, float("-inf")) < QUIET_SECONDS:
            self.broken.append(f"{event['reason']} was said {now - self._said[kind]:.0f} s ago")
        self._said[kind] = now

    # The end of all trouble

    def calm(self) -> None:
        """Nothing happens any more: what is under way ends, and the operator has all the time it wants."""
        self.connection.calm()
        self.cluster.deaf = False
        self.connection.list_again(self.controller)
        self.hold(False)
        for _ in range(40):
            for pod in self.cluster.running():
                self.cluster.train(pod["metadata"]["name"], 0)
            self.cluster.stop_deleted()
            self.cluster.collect_lost()
            self.flow()
            self.pass_time(60)

    def finish(self) -> None:
        """Every trainer that runs comes to its end."""
        for pod in self.cluster.running():
            self.cluster.end(pod["metadata"]["name"], EndKind.FINISHED)
        self.calm()


def _place(pod: Document) -> tuple[str, str]:
    """The Job of a pod and its index in it."""
    return owners(pod)[0], pod["metadata"]["annotations"][COMPLETION_INDEX]
