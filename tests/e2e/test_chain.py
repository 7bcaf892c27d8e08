"""Jobs applied together that begin with one another's results: each waits for its turn, on real volumes."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.inputs import SMALLER_MODEL
from tests.e2e.jobs import Jobs, condition
from tests.e2e.learning import Expected
from tests.e2e.manifests import a_job
from tests.e2e.results import content, losses
from tests.e2e.side_by_side import CALM_TOO, side_by_side

STEPS, BRANCH_AT = 60, 25


@side_by_side(CALM_TOO)
def test_an_adapter_upon_an_adapter_and_a_branch(jobs: Jobs, undisturbed: Expected) -> None:
    # Kept until it is branched from: by default the two newest are.
    first = a_job("first", steps=STEPS).with_spec(checkpoint={"everySteps": BRANCH_AT, "keep": 3})
    second = a_job("second", steps=20).with_spec(model={"job": {"name": "first"}})
    start = {"job": {"name": "first"}, "step": BRANCH_AT}
    branch = a_job("branch", steps=STEPS).with_spec(checkpoint={"everySteps": 25, "from": start})
    for manifest in (second, branch, first):
        jobs.apply(manifest)
    waiting = jobs.wait("second", "its turn", lambda job: condition(job, "Running").get("reason") == "WaitingForJob")
    assert condition(waiting, "Accepted")["status"] == "True"
    begun, upon, left = (jobs.finished(name) for name in ("first", "second", "branch"))
    before = content(jobs.run_directory(begun) / "checkpoints")
    assert upon["status"]["effective"]["model"] == f"job first on models/{SMALLER_MODEL}"
    assert upon["status"]["effective"]["jobs"][0]["digest"] == begun["status"]["output"]["digest"]
    curve, again = losses(jobs.run_directory(begun)), losses(jobs.run_directory(upon))
    assert again[1] < curve[1], "it goes on where the first one ended"
    assert left["status"]["history"][-1]["fromStep"] == BRANCH_AT
    assert _largest_difference(curve, losses(jobs.run_directory(left))) < 1e-5
    assert content(jobs.run_directory(begun) / "checkpoints") == before
    assert _runs(jobs.run_directory(begun)) == ["1"], "nobody else has claimed a run there"


def _largest_difference(one: dict[int, float], other: dict[int, float]) -> float:
    assert one.keys() == other.keys()
    return max(abs(one[step] - other[step]) for step in one)


def _runs(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "runs").iterdir())
