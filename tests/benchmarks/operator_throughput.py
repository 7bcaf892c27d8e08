"""Measures what a FineTuneJob costs beside a plain Job: `python -m tests.benchmarks.operator_throughput`.

Both kinds run in one control plane, one after the other, with the same pods, which kwok plays. It tests nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.operator_churn import Churned, churn
from tests.benchmarks.operator_cluster import BenchmarkCluster, benchmark_cluster
from tests.benchmarks.operator_cost import AuditLog, bucket_quantile, cpu_of, cpu_seconds, peak_memory, quantile
from tests.benchmarks.operator_jobs import Document, fine_tune_job, plain_job
from tests.benchmarks.operator_load import FINE_TUNE_JOBS, JOBS, Load, LoadError, Times
from tests.benchmarks.operator_process import Operator, reconciles, running_operator
from tests.benchmarks.operator_table import Burst, ChurnCost, Latency, OperatorCost, Restart, Results, Round, table
from tests.cluster import versions
from tests.cluster.errors import ClusterError

SETTLE_SECONDS = 3.0
"""What the jobs left to be done (events, pods' bookkeeping) is part of their cost."""
WARM_UP = 50
PACED_PER_SECOND = 10.0
PACED_JOBS = 200
PODS = "/api/v1/namespaces/{}/pods"


@dataclass
class Bench:
    """One run: the cluster, the load and the Job that all plain Jobs are copies of."""

    cluster: BenchmarkCluster
    load: Load
    audit: AuditLog
    child: Document
    runs: Iterator[int] = field(default_factory=itertools.count)
    """Numbers for namespaces."""
    tuned_in: dict[str, int] = field(default_factory=dict)
    """How many FineTuneJobs lie in which namespaces."""

    async def plain(self, count: int, rate: float | None = None) -> tuple[Times, dict[str, float]]:
        """Run plain Jobs in a namespace of their own, and delete them."""
        namespace = self.cluster.new_namespace(f"plain-{next(self.runs)}")
        documents = [plain_job(self.child, f"job-{number}") for number in range(count)]
        measured = await self._run(JOBS.format(namespace), documents, "Complete", rate, self.cluster.pids())
        await self._clear(namespace, count, JOBS, PODS)
        return measured

    async def tuned(self, operator: Operator, count: int, rate: float | None = None) -> tuple[Times, dict[str, float]]:
        """Run FineTuneJobs in a namespace of their own; they stay until `clear`."""
        namespace = self.cluster.new_namespace(f"tuned-{next(self.runs)}")
        self.tuned_in[namespace] = count
        documents = [fine_tune_job(f"job-{number}") for number in range(count)]
        pids = self.cluster.pids() | {"operator": operator.pid}
        return await self._run(FINE_TUNE_JOBS.format(namespace), documents, "Succeeded", rate, pids)

    async def clear(self) -> None:
        """Delete all FineTuneJobs, with what they own."""
        while self.tuned_in:
            namespace, count = self.tuned_in.popitem()
            await self._clear(namespace, count, FINE_TUNE_JOBS, JOBS, PODS)

    async def _clear(self, namespace: str, count: int, *paths: str) -> None:
        for path in paths:
            await self.load.delete_all(path.format(namespace), seconds=120 + count / 5)
        await asyncio.sleep(SETTLE_SECONDS)

    async def _run(
        self, path: str, documents: list[Document], end: str, rate: float | None, pids: Mapping[str, int]
    ) -> tuple[Times, dict[str, float]]:
        before = cpu_of(pids)
        times = await self.load.run(path, documents, end, per_second=rate, seconds=120 + len(documents))
        await asyncio.sleep(SETTLE_SECONDS)
        after = cpu_of(pids)
        return times, {name: after[name] - before[name] for name in pids}


@dataclass(frozen=True)
class Wanted:
    """What is asked for beside the two bursts."""

    paced: bool = False
    churned: bool = False
    restart: bool = False
    running: int = 200


async def measure(cluster: BenchmarkCluster, jobs: int, rounds: int, wanted: Wanted) -> Results:
    """Do the whole run: a warm-up, rounds of plain Jobs and FineTuneJobs, and after the last what else is wanted."""
    async with Load.on(cluster.plane) as load:
        child = await _child_of_one_job(cluster, load)
        bench = Bench(cluster, load, AuditLog(cluster.audit_log), child)
        await bench.plain(min(jobs - 1, WARM_UP))
        done: list[Round] = []
        for number in range(1, rounds + 1):
            _say(f"{jobs} plain Jobs, round {number} of {rounds}")
            times, cpu = await bench.plain(jobs)
            plain = Burst(jobs, times.seconds, cpu)
            last = number == rounds
            steady = (await bench.plain(min(jobs, PACED_JOBS), PACED_PER_SECOND))[0] if last and wanted.paced else None
            with running_operator(cluster) as operator:
                await bench.tuned(operator, min(jobs - 1, WARM_UP))
                _say(f"{jobs} FineTuneJobs, round {number} of {rounds}")
                tuned, cost = await _burst(bench, operator, jobs)
                done.append(Round(plain, tuned, cost))
                if not last:
                    await bench.clear()
                    continue
                results = Results.of_rounds(done, _machine())
                await _measure_more(bench, operator, results, steady, wanted)
        return results


async def _measure_more(
    bench: Bench, operator: Operator, results: Results, steady: Times | None, wanted: Wanted
) -> None:
    """Put what is wanted beside the bursts into the results; `steady` are the times of the paced plain Jobs."""
    if steady:
        _say(f"FineTuneJobs at {PACED_PER_SECOND:.0f} a second")
        results.latency = await _latency(bench, operator, steady)
    if wanted.churned:
        _say(f"{results.tuned.jobs} FineTuneJobs of which a quarter is disturbed")
        results.churn = await _churn(bench, operator, results.tuned.jobs)
    if wanted.restart:
        _say(f"a restart beside {wanted.running} running jobs")
        results.restart = await _restart(bench, operator, wanted.running)


async def _child_of_one_job(cluster: BenchmarkCluster, load: Load) -> Document:
    """Let the operator bring one job to its end, and return the Job that it made for it."""
    namespace = cluster.new_namespace("template")
    with running_operator(cluster):
        await load.run(FINE_TUNE_JOBS.format(namespace), [fine_tune_job("job")], "Succeeded", seconds=60)
    return await load.get(f"{JOBS.format(namespace)}/job-1")


async def _burst(bench: Bench, operator: Operator, jobs: int) -> tuple[Burst, OperatorCost]:
    bench.audit.new_requests()
    before = reconciles(operator.metrics())
    times, cpu = await bench.tuned(operator, jobs)
    text, requests = operator.metrics(), bench.audit.new_requests()
    cost = OperatorCost(
        peak_bytes=peak_memory(operator.pid),
        requests={what: count / jobs for what, count in requests.counts.most_common()},
        writes=requests.writes / jobs,
        reconciles=(reconciles(text) - before) / jobs,
        reconcile_p50=bucket_quantile(text, "finetune_reconcile_seconds", 0.5),
        reconcile_p99=bucket_quantile(text, "finetune_reconcile_seconds", 0.99),
    )
    return Burst(jobs, times.seconds, cpu), cost


async def _latency(bench: Bench, operator: Operator, plain: Times) -> Latency:
    tuned, _ = await bench.tuned(operator, len(plain.created), PACED_PER_SECOND)
    shares = [quantile(times.latencies, share) for times in (plain, tuned) for share in (0.5, 0.99)]
    return Latency(*shares)


async def _churn(bench: Bench, operator: Operator, jobs: int) -> ChurnCost:
    bench.audit.new_requests()
    namespace = bench.cluster.new_namespace("churn")
    pids = bench.cluster.pids() | {"operator": operator.pid}
    before = cpu_of(pids)
    churned: Churned = await churn(bench.load, namespace, jobs, seconds=120 + jobs)
    await asyncio.sleep(SETTLE_SECONDS)
    after = cpu_of(pids)
    requests = bench.audit.new_requests()
    return ChurnCost(
        burst=Burst(jobs, churned.times.seconds, {name: after[name] - before[name] for name in pids}),
        kinds=churned.kinds,
        attempts=churned.attempts,
        attempts_wanted=churned.attempts_wanted,
        wrong=churned.wrong,
        jobs_created=requests.counts["create jobs"],
        peak_bytes=peak_memory(operator.pid),
        writes=requests.writes / jobs,
    )


async def _restart(bench: Bench, operator: Operator, running: int) -> Restart:
    """Start jobs that run on, and restart the operator beside them and all that were finished before."""
    namespace = bench.cluster.new_namespace("running")
    documents = [fine_tune_job(f"job-{number}", "runs-on") for number in range(running)]
    await bench.load.run(FINE_TUNE_JOBS.format(namespace), documents, "Running")
    await asyncio.sleep(SETTLE_SECONDS)
    known = len((await bench.load.get("/apis/finetune.dev/v1alpha1/finetunejobs"))["items"])
    bench.audit.new_requests()
    seconds = operator.restart(known)
    cpu = cpu_seconds(operator.pid)
    await asyncio.sleep(SETTLE_SECONDS)
    requests = bench.audit.new_requests()
    return Restart(known - running, running, seconds, cpu, requests.total - requests.writes, requests.writes)


def _machine() -> dict[str, str]:
    load = f"{os.getloadavg()[0]:.1f}"
    return {
        "cores": str(os.cpu_count()),
        "Kubernetes": versions.NEWEST,
        "Python": platform.python_version(),
        "load average at the end": load,
    }


def _say(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.operator_throughput", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000, help="of each kind; 2 or more")
    parser.add_argument("--rounds", type=int, default=1, help="of plain Jobs and FineTuneJobs in turn; 1 or more")
    parser.add_argument(
        "--paced",
        action="store_true",
        help=f"also {PACED_JOBS} of each at {PACED_PER_SECOND:.0f} a second, for the latency",
    )
    parser.add_argument("--churn", action="store_true", help="also as many of which some fail, pause or are preempted")
    parser.add_argument("--restart", action="store_true", help="also restart the operator beside running jobs")
    parser.add_argument("--running", type=int, default=200, help="how many of those")
    parser.add_argument("--dir", type=Path, help="where data and logs go, and stay; else they are removed")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args(arguments)
    if options.jobs < 2:
        parser.error("--jobs: one is for the warm-up, so give 2 or more")
    if options.rounds < 1:
        parser.error("--rounds: give 1 or more")
    with tempfile.TemporaryDirectory(prefix="finetune-benchmark-") as scratch:
        try:
            with benchmark_cluster(options.dir or Path(scratch)) as cluster:
                wanted = Wanted(options.paced, options.churn, options.restart, options.running)
                results = asyncio.run(measure(cluster, options.jobs, options.rounds, wanted))
        except (ClusterError, LoadError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(table(results))
    for said in results.churn.wrong if results.churn else ():
        print(f"wrong: {said}", file=sys.stderr)
    if options.json:
        results.save(options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
