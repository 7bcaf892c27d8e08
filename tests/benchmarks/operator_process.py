"""Runs the operator as its own process beside a benchmark's cluster, and reads its metrics; judges nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.operator_cluster import BenchmarkCluster
from tests.benchmarks.operator_cost import total
from tests.cluster.waiting import until
from tests.integration.operator_process import OperatorProcess


class Operator:
    """The operator's process, as a pod would run it: for all namespaces, with the rights that deploy/ gives it."""

    def __init__(self, cluster: BenchmarkCluster) -> None:
        log = cluster.plane.directory / "logs" / "operator.log"
        everywhere = {"FINETUNE_NAMESPACES": "[]"}
        self.process = OperatorProcess(cluster.operator_kubeconfig(), "benchmark", log, everywhere)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def metrics(self) -> str:
        """What it says of itself, in the Prometheus text format."""
        return self.process.probe("/metrics")[1]

    def leads(self) -> bool:
        """Whether it has the Lease, and so works."""
        return total(self.metrics(), "finetune_leader") == 1

    def settled(self, jobs: int) -> bool:
        """Whether it knows this many jobs, has looked at as many since its start, and has nothing left to do."""
        text = self.metrics()
        known = total(text, "finetune_jobs") >= jobs
        return known and total(text, "finetune_queue_depth") == 0 and reconciles(text) >= jobs

    def restart(self, jobs: int) -> float:
        """Stop it, start it again, and return the seconds from the new process to the last of the jobs looked at."""
        self.process.stop()
        begin = time.monotonic()
        self.process.launch()
        self.process.wait_ready()
        until(lambda: self.settled(jobs), f"the operator to have looked at {jobs} jobs", timeout=120)
        return time.monotonic() - begin


def reconciles(text: str) -> float:
    """How many reconciles these metrics count."""
    return total(text, "finetune_reconcile_seconds_count")


@contextmanager
def running_operator(cluster: BenchmarkCluster) -> Iterator[Operator]:
    """Start the operator, wait until it works, and stop it at the end of the block."""
    operator = Operator(cluster)
    try:
        operator.process.start()
        until(operator.leads, "the operator to get the Lease")
        yield operator
    finally:
        operator.process.stop()
        operator.process.port.release()
