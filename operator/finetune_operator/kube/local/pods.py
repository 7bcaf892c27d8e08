"""The pods of one child Job as documents and processes: pending, running, ended. When the Job is over is in jobs.py."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from finetune_operator import names
from finetune_operator.errors import NotFoundError
from finetune_operator.kube.protocol import POD, Document

from . import environment
from .process import PodProcess
from .store import Store, now
from .volumes import Directories, MountedPaths

COMMAND = (sys.executable, "-m", "finetune_trainer.supervisor")
START_ERROR = 128
"""The exit code that container runtimes give a container that could not be started."""


class LocalPod:
    """One pod: its document in the store follows its process."""

    def __init__(self, store: Store, document: Document, directories: Directories, gpus: int) -> None:
        metadata = document["metadata"]
        self.namespace, self.name, self.uid = metadata["namespace"], metadata["name"], metadata["uid"]
        self.progress_port = 0
        self.over = asyncio.Event()
        self._store = store
        self._document = document
        self._directories = directories
        self._gpus = gpus
        self._process: PodProcess | None = None
        self._started = now()
        self._scratch = Path(tempfile.mkdtemp(prefix="finetune-"))
        self._message = self._scratch / "termination-message"

    def start(
        self, ports: tuple[int, int], progress_port: int, keep_open: Sequence[int], command: Sequence[str]
    ) -> None:
        """Begins the process. One that cannot be started ends as a container does in that case.

        `ports`: where the ranks meet, and where their supervisors speak to one another.
        """
        self.progress_port = progress_port
        owner = self._document["metadata"]["labels"][names.JOB_LABEL]
        state = self._directories.state(owner)
        state.mkdir(parents=True, exist_ok=True)
        try:
            paths = MountedPaths.of(self._document["spec"], self._directories, self._scratch)
            place = environment.Place(paths, self._message, *ports, progress_port, self._gpus)
            self._process = PodProcess.start(
                command, environment.of(self._document, place), Path.cwd(), state / f"{self.name}.log", keep_open
            )
        except (OSError, NotFoundError, ValueError) as error:
            self._ended(START_ERROR, "StartError", str(error))
            return
        running = {"state": {"running": {"startedAt": self._started}}, "ready": True}
        self._change("Running", running)

    async def wait(self) -> int:
        """Until the process has ended and the document says so. Returns the exit code."""
        if self._process is None:
            return START_ERROR
        code = await self._process.wait()
        message = self._message.read_text("utf-8", "replace") if self._message.exists() else ""
        reason = "Completed" if code == 0 else "Error"
        self._ended(code, reason, message)
        return code

    async def end(self, grace_seconds: float) -> None:
        """Asks the process to stop; it is killed after the grace."""
        if self._process is not None and not self.over.is_set():
            await self._process.end(grace_seconds)
            await self.over.wait()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _ended(self, code: int, reason: str, message: str) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
        times = {"startedAt": self._started, "finishedAt": now()}
        ended = {"exitCode": code, "reason": reason, "message": message, **times}
        self._change("Succeeded" if code == 0 else "Failed", {"state": {"terminated": ended}, "ready": False})
        self.over.set()

    def _change(self, phase: str, container: Document) -> None:
        status = {
            "phase": phase,
            "podIP": "127.0.0.1",
            "startTime": self._started,
            "containerStatuses": [{"name": names.CONTAINER, "restartCount": 0, **container}],
        }
        self._store.change(POD, self.namespace, self.name, status=status)


def document_of(job: Document, index: int) -> Document:
    """The pod that the Job controller makes for a completion index."""
    template, metadata = job["spec"]["template"], job["metadata"]
    labels = {
        **(template["metadata"].get("labels") or {}),
        names.CHILD_LABEL: metadata["name"],
        names.CONTROLLER_UID: metadata["uid"],
        names.COMPLETION_INDEX: str(index),
    }
    annotations = {**(template["metadata"].get("annotations") or {}), names.COMPLETION_INDEX: str(index)}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "metadata": {
            "name": f"{metadata['name']}-{index}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {**template["spec"], "nodeName": "localhost"},
        "status": {"phase": "Pending"},
    }
