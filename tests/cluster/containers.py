"""The processes of a pod's container as this machine's kernel sees them, for pods of nodes that are processes here."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Any

import psutil

from tests.cluster.errors import ClusterError


def processes(pod: Any) -> list[psutil.Process]:
    """Return the processes of a pod's only container, its first one first.

    Args:
        pod: a V1Pod of the official client, running.

    Raises:
        ClusterError: none runs on this machine.
    """
    container = pod.status.container_statuses[0].container_id.rpartition("//")[2]
    found = [process for process in psutil.process_iter() if container in _groups(process.pid)]
    if not found:
        raise ClusterError(f"no process of {pod.metadata.name} runs on this machine: is the cluster kind's?")
    return sorted(found, key=lambda process: (process.create_time(), process.pid))


def freeze(found: list[psutil.Process]) -> None:
    """Stop them where they are, as a machine that hangs does: their files and connections stay open."""
    _signal(found, signal.SIGSTOP)


def thaw(found: list[psutil.Process]) -> None:
    """Let frozen processes go on; those that are gone are left out."""
    _signal(found, signal.SIGCONT)


def _signal(found: list[psutil.Process], number: signal.Signals) -> None:
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):  # psutil knows a number that another process has got
            process.send_signal(number)


def _groups(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""
