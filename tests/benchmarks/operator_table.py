"""Puts what the operator's benchmarks measured into a table with its ratios and aims; measures nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

AIM_RATIO = 1.8
AIM_MEMORY_MB = 150
AIM_ADDED_MS = 40
AIM_RESTART_SECONDS = 2


@dataclass(frozen=True)
class Burst:
    """All jobs at once: seconds until the last had ended, and CPU seconds of every process until after it."""

    jobs: int
    seconds: float
    cpu: dict[str, float]

    def milliseconds(self, *components: str) -> float:
        """CPU milliseconds a job, of the named components or of everything."""
        return 1000 * sum(self.cpu.get(name, 0.0) for name in components or self.cpu) / self.jobs


@dataclass(frozen=True)
class OperatorCost:
    """What the operator itself did during its burst."""

    peak_bytes: int
    requests: dict[str, float]
    """Per job, by verb and resource."""
    writes: float
    reconciles: float
    reconcile_p50: float
    reconcile_p99: float


@dataclass(frozen=True)
class Latency:
    """Seconds from create to end, at a steady rate."""

    plain_p50: float
    plain_p99: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Restart:
    """A restart beside finished and running jobs."""

    finished: int
    running: int
    seconds: float
    cpu_seconds: float
    reads: int
    writes: int


@dataclass(frozen=True)
class ChurnCost:
    """As many jobs again, some of them disturbed."""

    burst: Burst
    kinds: dict[str, int]
    attempts: int
    attempts_wanted: int
    wrong: list[str]
    """What did not come out as it should; empty."""
    jobs_created: int
    """Child Jobs that the operator made, by the audit log."""
    peak_bytes: int
    writes: float


@dataclass(frozen=True)
class Round:
    """A burst of each kind, one right after the other."""

    plain: Burst
    tuned: Burst
    operator: OperatorCost

    @property
    def time(self) -> float:
        """How many times as long the FineTuneJobs took."""
        return self.tuned.seconds / self.plain.seconds

    @property
    def cpu(self) -> float:
        """How many times the CPU they took."""
        return self.tuned.milliseconds() / self.plain.milliseconds()


@dataclass
class Results:
    """Everything that one run measured."""

    plain: Burst
    tuned: Burst
    operator: OperatorCost
    time_ratios: list[float] = field(default_factory=list)
    """Of all rounds, in their order; the bursts above are those of the round with the median ratio of CPU."""
    cpu_ratios: list[float] = field(default_factory=list)
    latency: Latency | None = None
    churn: ChurnCost | None = None
    restart: Restart | None = None
    machine: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_rounds(cls, rounds: Sequence[Round], machine: dict[str, str]) -> Results:
        """The rounds without what is measured once. Of an even number the dearer of the two in the middle is shown."""
        shown = sorted(rounds, key=lambda one: one.cpu)[len(rounds) // 2]
        return cls(
            shown.plain,
            shown.tuned,
            shown.operator,
            [one.time for one in rounds],
            [one.cpu for one in rounds],
            machine=machine,
        )

    def save(self, path: Path) -> None:
        """Write all figures as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


def table(results: Results) -> str:
    """The Markdown that `docs/benchmarks.md` shows."""
    rows = [*_burst_rows(results.plain, results.tuned), *_operator_rows(results.operator)]
    if results.latency:
        rows += _latency_rows(results.latency)
    if results.churn:
        rows += _churn_rows(results.churn)
    if results.restart:
        rows += _restart_rows(results.restart)
    said = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    title = f"{results.tuned.jobs} jobs"
    head = [title, "plain Jobs", "FineTuneJobs", "ratio", "aim"]
    return "\n".join([said, *_all_rounds(results), "", *_markdown(head, rows)])


def _all_rounds(results: Results) -> list[str]:
    """What each round gave, where there were several."""
    if len(results.cpu_ratios) < 2:
        return []
    named = (("time", results.time_ratios), ("CPU", results.cpu_ratios))
    said = [f"{name} {', '.join(f'{ratio:.2f}x' for ratio in ratios)}" for name, ratios in named]
    return [f"{len(results.cpu_ratios)} rounds: {'; '.join(said)}; below is the one of the median CPU"]


def _burst_rows(plain: Burst, tuned: Burst) -> list[list[str]]:
    aim = f"≤ {AIM_RATIO}x"
    ratio = tuned.seconds / plain.seconds
    rows = [["first create to all ended", f"{plain.seconds:.1f} s", f"{tuned.seconds:.1f} s", f"{ratio:.2f}x", aim]]
    ratio = tuned.milliseconds() / plain.milliseconds()
    everything = f"{plain.milliseconds():.1f} ms", f"{tuned.milliseconds():.1f} ms"
    rows.append(["CPU of everything, per job", *everything, f"{ratio:.2f}x", aim])
    for name in tuned.cpu:
        before = f"{plain.milliseconds(name):.1f} ms" if name in plain.cpu else "-"
        rows.append([f"- {name}", before, f"{tuned.milliseconds(name):.1f} ms", "", ""])
    return rows


def _operator_rows(cost: OperatorCost) -> list[list[str]]:
    reads = sum(cost.requests.values()) - cost.writes
    rows = [
        ["operator, peak resident memory", "", f"{cost.peak_bytes / 1e6:.0f} MB", "", f"< {AIM_MEMORY_MB} MB"],
        ["operator requests per job", "", f"{cost.writes:.2f} writes, {reads:.2f} reads", "", ""],
    ]
    rows += [[f"- {what}", "", f"{count:.2f}", "", ""] for what, count in cost.requests.items() if count >= 0.005]
    times = f"{1000 * cost.reconcile_p50:.1f} / {1000 * cost.reconcile_p99:.0f} ms"
    return [
        *rows,
        ["reconciles per job", "", f"{cost.reconciles:.1f}", "", ""],
        ["reconcile p50 / p99", "", times, "", ""],
    ]


def _latency_rows(latency: Latency) -> list[list[str]]:
    rows = []
    for share, plain, tuned in (("p50", latency.plain_p50, latency.p50), ("p99", latency.plain_p99, latency.p99)):
        added = f"+{1000 * (tuned - plain):.0f} ms"
        aim = f"≤ +{AIM_ADDED_MS} ms"
        rows.append([f"paced, create to end, {share}", f"{plain:.3f} s", f"{tuned:.3f} s", added, aim])
    return rows


def _churn_rows(churn: ChurnCost) -> list[list[str]]:
    said = ", ".join(f"{count} {kind}" for kind, count in churn.kinds.items())
    extra = churn.jobs_created - churn.attempts_wanted
    made = f"{churn.attempts} of {churn.attempts_wanted} attempts, {churn.jobs_created} child Jobs"
    return [
        [f"churn: {said}", "", f"{churn.burst.seconds:.1f} s", "", ""],
        ["- attempts", "", made, "", "equal"],
        ["- doubled / lost or wrong", "", f"{max(extra, 0)} / {len(churn.wrong)}", "", "0 / 0"],
        ["- CPU of everything, per job", "", f"{churn.burst.milliseconds():.1f} ms", "", ""],
        [
            "- operator: CPU, writes per job",
            "",
            f"{churn.burst.milliseconds('operator'):.1f} ms, {churn.writes:.2f}",
            "",
            "",
        ],
        ["- operator, peak resident memory", "", f"{churn.peak_bytes / 1e6:.0f} MB", "", f"< {AIM_MEMORY_MB} MB"],
    ]


def _restart_rows(restart: Restart) -> list[list[str]]:
    beside = f"restart beside {restart.finished} finished, {restart.running} running"
    requests = f"{restart.writes} writes, {restart.reads} reads"
    return [
        [f"{beside}: until all looked at", "", f"{restart.seconds:.2f} s", "", f"< {AIM_RESTART_SECONDS} s"],
        ["- CPU until then", "", f"{restart.cpu_seconds:.2f} s", "", ""],
        ["- its requests, watches and Lease apart", "", requests, "", "0 writes"],
    ]


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
