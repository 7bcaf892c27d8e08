"""Jobs of `finetune run` on this machine: a run that lives is asked, a run that does not is written down as asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import typer

from finetune_api.v1alpha1.job import FineTuneJob
from finetune_operator.kube.local import Directories
from finetune_operator.kube.local.store import load

from ..errors import CannotStartError, NoSuchJobError
from ..running import requests
from ..running.lock import RunLock
from ..running.quiet import QuietView
from ..running.session import Session
from .wish import Document

_EVERY_SECONDS = 0.1
_TAKEN_SECONDS = 30.0


class LocalJobs:
    """The jobs whose results lie in one directory, the --output of their runs."""

    def __init__(self, output: Path) -> None:
        self._directories = Directories(output.absolute())

    def get(self, name: str) -> Document:
        """The job as its run keeps it. Raises NoSuchJobError."""
        found = load(self._directories.state(name) / "job.json")
        if found is None:
            known = ", ".join(self.names()) or "none"
            raise NoSuchJobError(
                f"there is no run of {name} in {self._directories.output}; the jobs there are {known}. "
                "--output takes the directory that `finetune run` was given"
            )
        return found

    def ask(self, name: str, spec: dict[str, bool]) -> Document:
        """Asks the run that lives, or writes it down where none does. Raises CannotStartError."""
        state = self._directories.state(name)
        if _holder(state) is None:
            return self._without_run(name, spec)
        requests.put(state, spec)
        deadline = time.monotonic() + _TAKEN_SECONDS
        while requests.is_waiting(state):
            if _holder(state) is None:
                return self._without_run(name, spec)
            if time.monotonic() > deadline:
                raise CannotStartError(f"the run of {name}, process {_holder(state)}, does not answer")
            time.sleep(_EVERY_SECONDS)
        return self.get(name)

    def names(self) -> list[str]:
        """The jobs that were run into this directory."""
        return sorted(found.parent.name for found in self._directories.state("*").parent.glob("*/job.json"))

    def follow(self, name: str) -> Iterator[Document]:
        """The job as it is and as it becomes. Raises CannotStartError when its run is gone."""
        while True:
            living = _holder(self._directories.state(name)) is not None
            yield self.get(name)
            if not living:
                raise CannotStartError(f"the run of {name} ended meanwhile; the same `finetune run` continues it")
            time.sleep(_EVERY_SECONDS)

    def _without_run(self, name: str, spec: dict[str, bool]) -> Document:
        """No attempt is there: the reconciler itself says what becomes of the job, as a new run of it would."""
        if spec.get("suspend") is False:
            raise CannotStartError(f"no run of {name} is alive: the `finetune run` that began it continues it")
        state = self._directories.state(name)
        lock = RunLock(state / "lock")
        try:
            lock.take(lambda text: typer.echo(text, err=True))
            requests.take(state)
            document = self.get(name)
            document["spec"] = {**document["spec"], **spec}
            job = FineTuneJob.model_validate(document)
            return asyncio.run(Session(job, self._directories, QuietView(), lock).run())
        finally:
            lock.release()


def _holder(state: Path) -> int | None:
    lock = RunLock(state / "lock")
    try:
        return lock.holder()
    finally:
        lock.release()
