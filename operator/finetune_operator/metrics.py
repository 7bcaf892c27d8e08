"""The operator's own Prometheus metrics; measures nothing itself and says nothing about single jobs."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

RECONCILE_SECONDS = Histogram(
    "finetune_reconcile_seconds",
    "Time of one pass over one job.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
RECONCILE_ERRORS = Counter("finetune_reconcile_errors", "Passes that ended in an error and are tried again.")
API_REQUESTS = Counter("finetune_api_requests", "Requests to the API server, watches apart.", ["verb", "kind", "code"])
QUEUE_DEPTH = Gauge("finetune_queue_depth", "Jobs that wait for a worker.")
LEADER = Gauge("finetune_leader", "1 in the replica that works.")


class JobsByPhase(Collector):
    """Counts the jobs when metrics are asked for, so that no transition has to be remembered."""

    def __init__(self, phases: Callable[[], Iterator[str]]) -> None:
        self._phases = phases

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("finetune_jobs", "FineTuneJobs by phase.", labels=["phase"])
        for phase, count in sorted(Tally(self._phases()).items()):
            family.add_metric([phase], count)
        yield family


def register(phases: Callable[[], Iterator[str]], depth: Callable[[], float]) -> None:
    """Connects the metrics that are read when asked for. Once a process."""
    REGISTRY.register(JobsByPhase(phases))
    QUEUE_DEPTH.set_function(depth)
