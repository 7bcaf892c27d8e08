"""`finetune run` from its arguments to its exit code: checks, lock, session, last words."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from finetune_api.v1alpha1.defaults import resolve
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_operator.kube.local.devices import gpus

from ..checking import only_job
from ..errors import Exit
from ..manifest import read
from . import requests
from .directories import directories
from .earlier import remember
from .ending import conclude
from .live import LiveView
from .lock import RunLock
from .plain import PlainView
from .session import Session, View, settings


def run_job(file: str, claims: Sequence[str], config_maps: Sequence[str], output: Path, name: str | None) -> Exit:
    """Runs the job of a file to its end. Raises CliError."""
    _, job = only_job(read(file), name)
    resolved = resolve(job.spec, settings().platform).spec
    places = directories(resolved, claims, config_maps, output)
    console = Console(stderr=False, highlight=False)
    lock = RunLock(places.state(job.metadata.name) / "lock")
    try:
        lock.take(lambda text: console.print(text))
        requests.take(places.state(job.metadata.name))  # what was left for an earlier run
        remember(places, job.metadata.name)
        with _view(console, job.metadata.name) as view:
            _warn_of_devices(view, resolved)
            session = Session(job, places, view, lock)
            ended = asyncio.run(session.run())
        return conclude(console, session, ended)
    finally:
        lock.release()


@contextlib.contextmanager
def _view(console: Console, name: str) -> Iterator[View]:
    if console.is_terminal and not console.is_dumb_terminal:
        with LiveView(console, name) as view:
            yield view
    else:
        yield PlainView(sys.stdout)


def _warn_of_devices(view: View, spec: FineTuneJobSpec) -> None:
    asked = (spec.compute.gpus_per_node if spec.compute else None) or 0
    here = gpus()
    if asked and not here:
        view.say(f"warning: the job asks for {asked} GPU(s) and this machine has none: it runs on the CPU (or MPS)")
    elif asked > here:
        view.say(f"warning: the job asks for {asked} GPUs and this machine has {here}: it accumulates more instead")
