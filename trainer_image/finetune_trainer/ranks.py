"""The rank processes of this node: starting them, telling how they ended, asking for stacks, ending them.

In place of torchrun: its agent needs torch itself (seconds of start-up, 200 MB), ends with 1 whatever the rank's code
was, and gives ranks a fixed 30 s after SIGTERM. Nothing here is elastic, so its rendezvous is not needed; the ranks get
the same environment, and `torchrun -m finetune_trainer.worker` works as well.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from finetune_api.trainer_contract import TrainerConfig

from .environment import RUN_VARIABLE, SCRATCH_VARIABLE, SUPERVISOR_VARIABLE, Place
from .last_words import KEPT_LINES
from .records import now
from .results import Results

STACK_SIGNAL = signal.SIGUSR1
_LONGEST_LINE = 8192


def begin(environment: Mapping[str, str], errors: int) -> int:
    """Starts a rank with its error output on the descriptor `errors`; returns its pid."""
    process = subprocess.Popen([sys.executable, "-m", "finetune_trainer.worker"], env=dict(environment), stderr=errors)
    # How it ends is seen by Ranks.reap, which waits for all children at once.
    process.returncode = 0
    return process.pid


@dataclass
class RankProcess:
    """A rank and, once it has ended, how."""

    rank: int
    pid: int
    exit_code: int | None = None
    signal: int | None = None
    ended_at: float | None = None
    killed: bool = False
    """The supervisor has sent it SIGKILL."""
    said: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    """The last lines of its error output."""
    errors: int | None = None
    """Where its error output is read."""
    _begun_line: str = ""

    @property
    def running(self) -> bool:
        return self.ended_at is None

    @property
    def ended_by_itself(self) -> bool:
        """Not by the supervisor."""
        return not self.running and not (self.killed and self.signal == signal.SIGKILL)

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def listen(self) -> None:
        """Passes on what the rank has written since, and keeps the last lines."""
        while self.errors is not None:
            try:
                content = os.read(self.errors, 65536)
            except BlockingIOError:
                return
            if not content:
                os.close(self.errors)
                self.errors = None
                return
            with suppress(OSError):
                os.write(sys.stderr.fileno(), content)
            # A bar of progress rewrites one line for days.
            self._begun_line = self._begun_line[-_LONGEST_LINE:]
            *lines, self._begun_line = (self._begun_line + content.decode("utf-8", "replace")).split("\n")
            self.said.extend(lines)


@dataclass
class Ranks:
    """The ranks of this node."""

    processes: list[RankProcess] = field(default_factory=list)

    @classmethod
    def start(cls, config: TrainerConfig, place: Place, results: Results, scratch: Path, run: int) -> Ranks:
        """Starts every rank of this node."""
        ranks = cls()
        port = _free_port() if place.nodes == 1 and place.world_size > 1 else place.master_port
        for local_rank in range(place.processes_per_node):
            rank = place.node * place.processes_per_node + local_rank
            environment = os.environ | {RUN_VARIABLE: str(run), SCRATCH_VARIABLE: str(scratch)}
            environment |= {SUPERVISOR_VARIABLE: str(os.getpid())}
            environment |= _libraries(place, results)
            if place.world_size > 1:
                environment |= {
                    "RANK": str(rank),
                    "LOCAL_RANK": str(local_rank),
                    "WORLD_SIZE": str(place.world_size),
                    "LOCAL_WORLD_SIZE": str(place.processes_per_node),
                    "MASTER_ADDR": place.master_address,
                    "MASTER_PORT": str(port),
                }
            errors, theirs = os.pipe()
            os.set_blocking(errors, False)
            pid = begin(environment, theirs)
            os.close(theirs)
            ranks.processes.append(RankProcess(rank, pid, errors=errors))
        return ranks

    @property
    def running(self) -> list[RankProcess]:
        return [process for process in self.processes if process.running]

    def reap(self) -> None:
        """Notes which ranks have ended, and buries orphans that process 1 inherited."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for process in self.processes:
                if process.pid == pid:
                    process.ended_at = now()
                    if os.WIFSIGNALED(status):
                        process.signal = os.WTERMSIG(status)
                    else:
                        process.exit_code = os.WEXITSTATUS(status)

    def listen(self) -> None:
        """Passes on what the ranks have written."""
        for process in self.processes:
            process.listen()

    @property
    def outputs(self) -> list[int]:
        """The descriptors on which ranks write."""
        return [process.errors for process in self.processes if process.errors is not None]

    def send(self, number: int) -> None:
        """Sends a signal to every rank that runs."""
        for process in self.running:
            process.send(number)

    def kill(self) -> None:
        """Ends every rank that runs, at once; one that has ended by itself meanwhile stays known as that."""
        self.reap()
        for process in self.running:
            process.killed = True
            process.send(signal.SIGKILL)


def _libraries(place: Place, results: Results) -> dict[str, str]:
    """Settings of libraries that a user has not made: threads, caches, no telemetry."""
    wanted = {
        "OMP_NUM_THREADS": str(max(1, _cores() // place.processes_per_node)),
        # Threads that spin while they wait take the cores from whoever works: a step of 0.3 s takes seconds as soon as
        # anything else runs. Sleeping ones cost a tenth of the processor time more than one thread alone.
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HOME": str(results.cache / "huggingface"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        # It ends a process whose watchdog was held up for eight minutes; whether a rank hangs is for us to judge.
        "TORCH_NCCL_ENABLE_MONITORING": "0",
    }
    return {name: value for name, value in wanted.items() if name not in os.environ}


def _cores() -> int:
    """Cores that this container may use: its quota (cgroup v2 or v1), or what the scheduler allows."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        try:
            directory = Path("/sys/fs/cgroup/cpu")
            quota = (directory / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (directory / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        except OSError:
            return allowed
    if not quota.isdecimal():
        return allowed
    return max(1, min(allowed, -(-int(quota) // int(period))))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
