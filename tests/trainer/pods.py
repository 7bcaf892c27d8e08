"""Pods of an attempt on this machine: real supervisors with real ranks, forked where the libraries are loaded."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from finetune_api.trainer_contract import AttemptRecord, ExitCode, ProgressReport
from finetune_trainer.records import read_progress

from .attempts import PATIENCE_SECONDS, AJob, free_port
from .forked_pods import FOR_EVER, supervise

_ARMED = "looks-for-hangs"


class Pod:
    """One supervisor and its ranks."""

    def __init__(
        self,
        job: AJob,
        ports: tuple[int, int],
        node: int,
        nodes: int,
        hang_seconds: float,
        before: Callable[[int], None],
    ) -> None:
        """`before(rank)` runs in each rank before the recipe, to break something there."""
        self.job = job
        self.node = node
        number = len(list(job.volume.glob("pod-*.log")))
        self._log = job.volume / f"pod-{number}-{node}.log"
        self._message = job.volume / f"message-{number}-{node}"
        self.scratch = job.volume / f"scratch-{number}-{node}"
        self.scratch.mkdir()
        armed = job.volume / _ARMED
        self.status: int | None = None
        environment = {
            "FINETUNE_CONFIG": job.config.encode(),
            "FINETUNE_TERMINATION_MESSAGE": str(self._message),
            "TMPDIR": str(self.scratch),
            "PET_NNODES": str(nodes),
            "PET_NODE_RANK": str(node),
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(ports[0]),
            "FINETUNE_GANG_PORT": str(ports[1]),
            "FINETUNE_GANG_TOKEN": "the uid of the Job",
        }
        self.pid = os.fork()
        if self.pid == 0:
            supervise(self._log, environment, lambda: hang_seconds if armed.exists() else FOR_EVER, before)
        self.process = psutil.Process(self.pid)

    @property
    def ranks(self) -> list[psutil.Process]:
        """The rank processes, by their numbers."""
        children: list[psutil.Process] = self.process.children()
        return sorted(children, key=lambda child: child.pid)

    @property
    def report(self) -> ProgressReport | None:
        """The progress report that rank 0 keeps on its node."""
        found = list(self.scratch.glob("finetune-*/progress.json"))
        return read_progress(found[0].parent) if found else None

    @property
    def ended(self) -> bool:
        if self.status is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if done else None
        return self.status is not None

    @property
    def code(self) -> ExitCode:
        assert self.status is not None
        return ExitCode(os.waitstatus_to_exitcode(self.status))

    @property
    def record(self) -> AttemptRecord:
        """The termination message."""
        return AttemptRecord.load(self._message.read_bytes())

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def kill(self) -> None:
        """SIGKILL to the supervisor; its ranks go with it."""
        os.kill(self.pid, signal.SIGKILL)


class Pods(list[Pod]):
    """All pods of an attempt."""

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Waits until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"{what} never came:\n{self.logs}"
            time.sleep(0.02)

    def look_for_hangs(self) -> None:
        """From now on the limit for hangs counts; what takes long before is nobody's fault."""
        (self[0].job.volume / _ARMED).touch()

    def until_step(self, step: int) -> None:
        """Waits until the attempt has done a step."""

        def reached() -> bool:
            assert not any(pod.ended for pod in self), f"ended before step {step}:\n{self.logs}"
            report = self[0].report
            return report is not None and report.step >= step

        self.until(reached, f"step {step}")

    def until_stage(self, stage: str) -> None:
        """Waits until rank 0 says that it has reached a stage."""
        self.until(lambda: (report := self[0].report) is not None and report.stage == stage, stage)

    def wait(self) -> list[AttemptRecord]:
        """Waits until all pods have ended; the records of those that could write one."""
        for pod in self:
            self.until(lambda pod=pod: pod.ended, f"the end of pod {pod.node}")  # type: ignore[misc]  # mypy cannot infer it
        return [pod.record for pod in self if pod.status is not None and not os.WIFSIGNALED(pod.status)]

    @property
    def logs(self) -> str:
        return "\n".join(pod.log for pod in self)


@contextmanager
def pods(
    job: AJob, *, nodes: int = 1, ranks: int = 1, hang_seconds: float = FOR_EVER,
    before: Callable[[int], None] = lambda _: None, ports: tuple[int, int] | None = None, cable: int | None = None,
) -> Iterator[Pods]:  # fmt: skip
    """An attempt of `nodes` pods with `ranks` ranks each; whatever is left of it is killed.

    `ports`: where the ranks and the supervisors meet. `cable`: a port by which the others reach the latter.
    """
    world = {"device": "CPU", "nodes": nodes, "processesPerNode": ranks}
    ports = ports or (free_port(), free_port())
    of_nodes = job.with_config(world=world)
    started = Pods(
        Pod(of_nodes, (ports[0], cable if node and cable else ports[1]), node, nodes, hang_seconds, before)
        for node in range(nodes)
    )
    try:
        yield started
    finally:
        for pod in started:
            if not pod.ended:
                pod.kill()
                os.waitpid(pod.pid, 0)
