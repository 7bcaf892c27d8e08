"""Runs the operator as its own process beside a benchmark's cluster, and reads its metrics; judges nothing."""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.operator_cluster import OPERATOR_NAMESPACE, BenchmarkCluster
from tests.benchmarks.operator_cost import total
from tests.cluster.control_plane import answers
from tests.cluster.ports import Port
from tests.cluster.process import Process
from tests.cluster.waiting import until


# The operator's image holds no official client; where kopf finds one it loads it, which is time and memory that a pod
# does not spend.
_AS_IN_THE_IMAGE = "import sys; sys.modules['kubernetes'] = None; from finetune_operator.__main__ import main; main()"


class Operator:
    """The operator's process, as a pod would run it: with a service account's token, a Lease and its defaults."""

    def __init__(self, cluster: BenchmarkCluster, port: Port) -> None:
        self._url = f"http://127.0.0.1:{port}"
        environment = {
            "FINETUNE_KUBECONFIG": str(cluster.operator_kubeconfig()),
            "FINETUNE_OPERATOR_NAMESPACE": OPERATOR_NAMESPACE,
            "FINETUNE_PROBE_HOST": "127.0.0.1",
            "FINETUNE_PROBE_PORT": str(port),
            "FINETUNE_PROGRESS": "Direct",  # inside a cluster it is; here every such call is refused at once
        }
        self.process = Process(
            "operator",
            [sys.executable, "-c", _AS_IN_THE_IMAGE],
            cluster.plane.directory / "logs" / "operator.log",
            ready=lambda: answers(f"{self._url}/healthz") and total(self.metrics(), "finetune_leader") == 1,
            environment=environment,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def metrics(self) -> str:
        """What it says of itself, in the Prometheus text format."""
        with urllib.request.urlopen(f"{self._url}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

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
        until(lambda: answers(f"{self._url}/healthz"), "the operator's probe", every=0.02)
        until(lambda: self.settled(jobs), f"the operator to have looked at {jobs} jobs", timeout=120)
        return time.monotonic() - begin


def reconciles(text: str) -> float:
    """How many reconciles these metrics count."""
    return total(text, "finetune_reconcile_seconds_count")


@contextmanager
def running_operator(cluster: BenchmarkCluster) -> Iterator[Operator]:
    """Start the operator and stop it at the end of the block."""
    port = Port()
    operator = Operator(cluster, port)
    try:
        operator.process.start()
        yield operator
    finally:
        operator.process.stop()
        port.release()
