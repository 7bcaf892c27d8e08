"""What the chaos soak does to a job: each kind harms processes or files of one workplace, and nothing else."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.trainer.workplace import Workplace


@dataclass
class Victim:
    """A job that runs: its workplace, the `finetune run` that drives it, and what was left stopped."""

    place: Workplace
    run: subprocess.Popen[str]
    draw: random.Random
    stopped: list[int] = field(default_factory=list)

    def supervisors(self) -> list[int]:
        return [pid for pid in self.place.trainers() if b"finetune_trainer.supervisor" in _command(pid)]

    def ranks(self) -> list[int]:
        return [pid for pid in self.place.trainers() if b"finetune_trainer.supervisor" not in _command(pid)]

    def checkpoints(self) -> list[Path]:
        """The complete ones, oldest first."""
        found = self.place.root.glob(f"out/{self.place.name}/*/checkpoints/step-*/manifest.json")
        return sorted(path.parent for path in found)


def kill_rank(victim: Victim) -> bool:
    return _signal(_one(victim, victim.ranks()), signal.SIGKILL)


def stop_rank(victim: Victim) -> bool:
    """Found as a hang by the supervisor, which ends the attempt."""
    pids = _one(victim, victim.ranks())
    victim.stopped += pids
    return _signal(pids, signal.SIGSTOP)


def kill_supervisor(victim: Victim) -> bool:
    """As a node that loses the container's process 1."""
    return _signal(_one(victim, victim.supervisors()), signal.SIGKILL)


def terminate_supervisor(victim: Victim) -> bool:
    """As an eviction: there is time for a checkpoint."""
    return _signal(_one(victim, victim.supervisors()), signal.SIGTERM)


def kill_trainer(victim: Victim) -> bool:
    """Everything of the attempt at once, as a node that dies."""
    return _signal(victim.place.trainers(), signal.SIGKILL)


def kill_run(victim: Victim) -> bool:
    """The operator's part; the trainer is told by the kernel and saves a checkpoint."""
    return _signal([victim.run.pid], signal.SIGKILL)


def kill_everything(victim: Victim) -> bool:
    return _signal([victim.run.pid, *victim.place.trainers()], signal.SIGKILL)


def interrupt_run(victim: Victim) -> bool:
    """Ctrl-C."""
    return _signal([victim.run.pid], signal.SIGINT)


def pause_and_resume(victim: Victim) -> bool:
    paused, _ = victim.place.steer("pause", "--wait")
    resumed, _ = victim.place.steer("resume")
    return paused == 0 and resumed == 0


def truncate_checkpoint(victim: Victim) -> bool:
    """Half of the newest checkpoint's largest file is lost, and then the machine: the one before must do."""
    found = victim.checkpoints()
    if not found:
        return False
    _signal(victim.place.trainers(), signal.SIGKILL)
    newest = victim.checkpoints()[-1]
    largest = max((path for path in newest.iterdir() if path.is_file()), key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    return True


KINDS: dict[str, Callable[[Victim], bool]] = {
    "SIGKILL of a rank": kill_rank,
    "SIGSTOP of a rank": stop_rank,
    "SIGKILL of a supervisor": kill_supervisor,
    "SIGTERM to a supervisor": terminate_supervisor,
    "SIGKILL of supervisor and ranks": kill_trainer,
    "SIGKILL of finetune run": kill_run,
    "SIGKILL of everything": kill_everything,
    "SIGINT to finetune run": interrupt_run,
    "finetune pause, finetune resume": pause_and_resume,
    "newest checkpoint truncated": truncate_checkpoint,
}
"""Each returns whether there was something to harm."""


def _one(victim: Victim, pids: list[int]) -> list[int]:
    return [victim.draw.choice(sorted(pids))] if pids else []


def _signal(pids: list[int], number: signal.Signals) -> bool:
    harmed = False
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            harmed = True
    return harmed


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
