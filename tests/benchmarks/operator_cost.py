"""Reads what processes and requests cost: CPU, memory, audit log, histograms; starts nothing."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU, user and system, that a process has used so far; children do not count."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def cpu_of(pids: Mapping[str, int]) -> dict[str, float]:
    """Seconds of CPU so far, by name."""
    return {name: cpu_seconds(pid) for name, pid in pids.items()}


def peak_memory(pid: int) -> int:
    """The most bytes of a process that were resident at once."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@dataclass(frozen=True)
class Requests:
    """The finished requests of the operator, by verb and resource; watches and the Lease are left out."""

    counts: Counter[str]

    @property
    def total(self) -> int:
        """All of them."""
        return self.counts.total()

    @property
    def writes(self) -> int:
        """Those that change something."""
        return sum(count for what, count in self.counts.items() if what.split()[0] not in ("get", "list"))


class AuditLog:
    """The operator's lines of the audit log, read from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_requests(self) -> Requests:
        """Count the requests since the last call."""
        counts: Counter[str] = Counter()
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._offset += len(line)
                what = _request(json.loads(line))
                if what:
                    counts[what] += 1
        return Requests(counts)


def _request(event: dict) -> str | None:  # type: ignore[type-arg]  # an audit event as it was written
    about = event.get("objectRef", {})
    if event["stage"] != "ResponseComplete" or event["verb"] == "watch" or about.get("resource") in (None, "leases"):
        return None
    resource = "/".join(part for part in (about["resource"], about.get("subresource")) if part)
    code = event.get("responseStatus", {}).get("code", 200)
    return f"{event['verb']} {resource}" + ("" if code < 400 else f" ({code})")


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """The labels and values of one metric in the Prometheus text format."""
    found = []
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match and match[1] == name:
            found.append((dict(_LABEL.findall(match[2] or "")), float(match[3])))
    return found


def total(text: str, name: str) -> float:
    """The sum of a metric over all its labels; 0 where there is none."""
    return sum(value for _, value in samples(text, name))


def bucket_quantile(text: str, name: str, share: float) -> float:
    """The quantile of a histogram, linear within a bucket as Prometheus does it; NaN where nothing was observed."""
    buckets: Counter[float] = Counter()
    for labels, value in samples(text, f"{name}_bucket"):
        buckets[float(labels["le"])] += value  # type: ignore[assignment]  # a Counter adds floats as well
    wanted = share * buckets.get(math.inf, 0)
    low, below = 0.0, 0.0
    for bound in sorted(buckets):
        if wanted and buckets[bound] >= wanted:
            inside = buckets[bound] - below
            return low if math.isinf(bound) else low + (bound - low) * (wanted - below) / inside
        low, below = bound, buckets[bound]
    return math.nan


def quantile(values: Sequence[float], share: float) -> float:
    """The quantile of measured values, by nearest rank; NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]
