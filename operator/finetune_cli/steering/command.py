"""`finetune pause`, `resume` and `cancel` from their arguments to their exit code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import typer

from ..errors import ClusterError, Exit
from .wish import Document, Wish, is_reached, is_said, told, waits_for


class Jobs(Protocol):
    """Where jobs are: a cluster, or this machine."""

    def get(self, name: str) -> Document:
        """The job now. Raises CliError."""

    def ask(self, name: str, spec: dict[str, bool]) -> Document:
        """Writes fields of the spec and returns the job. Raises CliError."""

    def follow(self, name: str) -> Iterator[Document]:
        """The job as it is and as it becomes. Raises CliError."""

    def names(self) -> list[str]:
        """All jobs there."""


@dataclass(frozen=True)
class Place:
    """Where the person says that the job is."""

    namespace: str | None = None
    context: str | None = None
    output: Path | None = None

    def jobs(self) -> Jobs:
        """Raises ClusterError, BadParameter."""
        if self.output is not None:
            if self.namespace or self.context:
                raise typer.BadParameter("a run on this machine has no namespace and no context", param_hint="--output")
            from .local import LocalJobs

            return LocalJobs(self.output)
        from .cluster import ClusterJobs

        try:
            return ClusterJobs.find(self.context, self.namespace)
        except ClusterError as error:
            hint = "for a `finetune run` on this machine add --output DIR, as it was given to it (out)"
            raise ClusterError(f"{error.message}; {hint}") from None


def steer(name: str, wish: Wish, place: Place, wait: bool) -> Exit:
    """Asks, and waits where that is wanted. Asking for what is so already is no error. Raises CliError."""
    jobs = place.jobs()
    job = jobs.get(name)
    if not is_said(job, wish):
        job = jobs.ask(name, wish.spec)
    if wait:
        job = _waited(jobs, name, wish)
    typer.echo(told(job, wish))
    return Exit.SUCCEEDED


def _waited(jobs: Jobs, name: str, wish: Wish) -> Document:
    said = ""
    for job in jobs.follow(name):
        if is_reached(job, wish):
            return job
        if waits_for(job) != said:
            said = waits_for(job)
            typer.echo(said, err=True)
    raise AssertionError("following a job ends only with an error")
