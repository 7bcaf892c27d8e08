"""One run of a job: the operator's controller over LocalKube until the job has ended or was paused; prints nothing."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from finetune_api.trainer_contract import ProgressReport
from finetune_api.v1alpha1.defaults import PlatformDefaults
from finetune_api.v1alpha1.job import FineTuneJob
from finetune_operator.controller import Controller
from finetune_operator.errors import NoProgressError
from finetune_operator.kube.local import Directories, LocalKube
from finetune_operator.kube.local.store import load
from finetune_operator.kube.protocol import FINE_TUNE_JOB, POD, Change, Document, Kind
from finetune_operator.settings import Settings

from . import requests
from .earlier import run_lives
from .lock import RunLock

NAMESPACE = "default"
TERMINAL = ("Succeeded", "Failed", "Cancelled")
_REFRESH_SECONDS = 0.5


class View(Protocol):
    """Shows what happens."""

    def job(self, job: Document) -> None:
        """The FineTuneJob has changed."""

    def report(self, report: ProgressReport) -> None:
        """The running trainer says how far it is."""

    def event(self, event: Document) -> None:
        """The operator raised an event."""

    def say(self, text: str) -> None:
        """A remark of the run itself."""


@dataclass
class Session:
    """A job, its directories, and the view on it."""

    manifest: FineTuneJob
    directories: Directories
    view: View
    lock: RunLock
    interrupts: int = 0
    held: bool = False
    """Another process asked for a pause: the run stays and waits to be resumed."""

    @property
    def state(self) -> Path:
        return self.directories.state(self.manifest.metadata.name)

    async def run(self) -> Document:
        """Runs the job to its end. Returns the FineTuneJob as it is then; `interrupts` says whether it was paused."""
        kube = LocalKube(
            self.directories, self.state / "job.json", on_event=self.view.event, keep_open=[self.lock.descriptor]
        )
        controller = Controller(kube, settings())
        kube.listen(controller.take)
        over = asyncio.Event()
        kube.listen(lambda kind, change, document: self._seen(kind, change, document, over))
        with operator_log(self.state / "operator.log"):
            working = asyncio.create_task(controller.run())
            showing = asyncio.create_task(self._show_progress(kube))
            listening = asyncio.create_task(self._listen_to_requests(kube))
            self._listen_to_signals(kube, over)
            try:
                await kube.create(FINE_TUNE_JOB, starting_point(self.manifest, load(self.state / "job.json")))
                waiting = asyncio.create_task(over.wait())
                await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
                if working.done():
                    working.result()
                await controller.announcer.flush()
            finally:
                await _cancelled(working, showing, listening)
                await kube.close()
        return kube.store.get(FINE_TUNE_JOB, NAMESPACE, self.manifest.metadata.name)

    def _seen(self, kind: Kind, change: Change, document: Document, over: asyncio.Event) -> None:
        if kind != FINE_TUNE_JOB:
            return
        self.view.job(document)
        phase = document.get("status", {}).get("phase")
        paused = phase == "Suspended" and document["spec"].get("suspend")
        if phase in TERMINAL or (paused and not self.held) or refusal(document) or self._waits_in_vain(document):
            over.set()

    def _waits_in_vain(self, document: Document) -> bool:
        """Whether the job waits for another one that nobody runs here."""
        return turn(document) is not None and not run_lives(self.manifest.spec, self.directories)

    async def _show_progress(self, kube: LocalKube) -> None:
        while True:
            for pod in await kube.list(POD, NAMESPACE, ""):
                with contextlib.suppress(NoProgressError, ValueError):
                    self.view.report(ProgressReport.load(await kube.progress(NAMESPACE, pod["metadata"]["name"], None)))
            await asyncio.sleep(_REFRESH_SECONDS)

    async def _listen_to_requests(self, kube: LocalKube) -> None:
        """Takes what `finetune pause`, `resume` and `cancel` leave for this run."""
        while True:
            asked = requests.take(self.state)
            if asked and not self.interrupts:
                self.held = bool(asked.get("suspend"))
                if asked.get("cancel"):
                    self.view.say("cancelling as asked: the trainer saves a checkpoint and ends")
                elif not self.held:
                    self.view.say("going on as asked")
                else:
                    self.view.say("pausing as asked: `finetune resume` goes on here, Ctrl-C leaves the job paused")
                kube.store.change(FINE_TUNE_JOB, NAMESPACE, self.manifest.metadata.name, spec=asked)
            await asyncio.sleep(_REFRESH_SECONDS)

    def _listen_to_signals(self, kube: LocalKube, over: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._interrupted, kube, over)

    def _interrupted(self, kube: LocalKube, over: asyncio.Event) -> None:
        """First: suspend, as `spec.suspend: true` does on a cluster. Again: kill."""
        self.interrupts += 1
        name = self.manifest.metadata.name
        if self.held and kube.store.get(FINE_TUNE_JOB, NAMESPACE, name)["status"].get("phase") == "Suspended":
            over.set()
        elif self.interrupts == 1:
            self.held = False
            self.view.say("pausing: the trainer saves a checkpoint (Ctrl-C again to kill it)")
            kube.store.change(FINE_TUNE_JOB, NAMESPACE, name, spec={"suspend": True})
        else:
            self.view.say("killed")
            kube.kill()
            over.set()


def settings() -> Settings:
    """The operator's settings for this machine: one job, nobody else, no limits."""
    return Settings(
        lease=False,
        network_policy=False,
        workers=1,
        trainer_image="local",
        fs_group=None,
        platform=PlatformDefaults(storage_size="1Gi"),
        allow_remote_code=False,
        allow_user_code=False,
        allowed_images=[],
        allowed_hub_owners=[],
        maximum_gpus_per_job=None,
    )


def starting_point(manifest: FineTuneJob, earlier: Document | None) -> Document:
    """The object that the run begins with: the earlier one where that was not over and asked for the same."""
    document = manifest.dump()
    document.pop("status", None)
    document["metadata"]["namespace"] = NAMESPACE
    for name in ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"):
        document["metadata"].pop(name, None)
    status = (earlier or {}).get("status") or {}
    if earlier is None or status.get("phase") in TERMINAL or _asked(earlier) != _asked(document):
        return document
    if refusal(earlier) or turn(earlier) is not None:
        return document
    continued = copy.deepcopy(earlier)
    continued["spec"] = document["spec"]
    continued["metadata"]["generation"] += 1
    return continued


def refusal(job: Document) -> Document | None:
    """The Accepted condition where the operator refuses the job for good."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Accepted" and condition["status"] == "False":
            found: Document = condition
            return found
    return None


def turn(job: Document) -> str | None:
    """What the job waits for before its turn comes, where it does."""
    status = job.get("status") or {}
    waits = (c for c in status.get("conditions") or () if c["type"] == "Running" and c["reason"] == "WaitingForJob")
    return next((c["message"] for c in waits), None) if status.get("phase") == "Pending" else None


@contextlib.contextmanager
def operator_log(path: Path) -> Iterator[None]:
    """The operator's own log goes into a file: the terminal belongs to the view."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso"),
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=structlog.WriteLoggerFactory(file),
            cache_logger_on_first_use=False,
        )
        try:
            yield
        finally:
            structlog.reset_defaults()


def _asked(job: Document) -> Document:
    return {name: value for name, value in job["spec"].items() if name not in ("suspend", "cancel")}


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
