"""Runs the operator's benchmark with a handful of jobs, so that it does not rot; judges no time."""

import json
from typing import Any

import pytest

from tests.benchmarks import operator_cost, operator_throughput


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("benchmark")
    file = directory / "figures.json"
    size = ["--jobs=8", "--rounds=2", "--paced", "--churn", "--restart", "--running=3"]
    assert operator_throughput.main([*size, f"--dir={directory / 'cluster'}", f"--json={file}"]) == 0
    loaded: dict[str, Any] = json.loads(file.read_text())
    return loaded


def test_both_kinds_of_job_cost_something_and_only_one_needs_the_operator(figures: dict[str, Any]) -> None:
    assert set(figures["tuned"]["cpu"]) - set(figures["plain"]["cpu"]) == {"operator"}
    assert min(figures["tuned"]["cpu"]["operator"], sum(figures["plain"]["cpu"].values())) > 0


def test_the_round_that_is_shown_is_one_of_those_that_were_run(figures: dict[str, Any]) -> None:
    shown = sum(figures["tuned"]["cpu"].values()) / sum(figures["plain"]["cpu"].values())
    assert len(figures["time_ratios"]) == 2
    assert max(figures["cpu_ratios"]) == pytest.approx(shown)


def test_the_operators_writes_are_counted_and_within_their_budget(figures: dict[str, Any]) -> None:
    requests = figures["operator"]["requests"]
    events = requests.pop("create events")
    writes = sum(count for what, count in requests.items() if what.split()[0] not in ("get", "list"))
    assert requests["create jobs"] == 1
    assert 1 <= events <= 4
    assert 2 <= writes <= 6


def test_disturbed_jobs_come_through_with_the_right_number_of_attempts(figures: dict[str, Any]) -> None:
    churn = figures["churn"]
    assert churn["kinds"] == {"failed once": 2, "paused and resumed": 2, "preempted": 1, "undisturbed": 3}
    assert churn["wrong"] == []
    assert churn["attempts"] == churn["jobs_created"] == churn["attempts_wanted"] == 8 + 5


def test_a_restart_finds_every_job_and_writes_nothing(figures: dict[str, Any]) -> None:
    assert (
        figures["restart"]["finished"] == 8 + 8 + 8 + 7 + 1
    )  # in a burst, paced, churned, to warm up, and the one that plain Jobs are copies of
    assert (figures["restart"]["running"], figures["restart"]["writes"]) == (3, 0)


def test_a_quantile_is_read_from_a_histogram_as_prometheus_does() -> None:
    text = 'took_seconds_bucket{le="0.1"} 50\ntook_seconds_bucket{le="0.2"} 100\ntook_seconds_bucket{le="+Inf"} 100\n'
    assert operator_cost.bucket_quantile(text, "took_seconds", 0.75) == pytest.approx(0.15)
