"""A finished job that is deleted and applied again, as GitOps tools do: it ends at once and trains nothing."""

from __future__ import annotations

from tests.e2e.jobs import Jobs, condition
from tests.e2e.learning import Expected
from tests.e2e.manifests import a_job
from tests.e2e.results import content
from tests.e2e.side_by_side import CALM, side_by_side


@side_by_side(CALM)
def test_the_same_manifest_again_finds_its_output(jobs: Jobs, undisturbed: Expected) -> None:
    manifest = a_job("restored", steps=20)
    name = jobs.apply(manifest)
    first = jobs.finished(name)
    run = jobs.run_directory(first)
    output, metrics = content(run / "output"), (run / "logs" / "metrics.jsonl").read_bytes()
    assert output

    jobs.delete(name)
    jobs.apply(manifest)
    second = jobs.finished(name)

    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert condition(second, "Succeeded")["reason"] == "AlreadyComplete"
    assert second["status"]["output"] == first["status"]["output"]
    assert content(run / "output") == output
    assert (run / "logs" / "metrics.jsonl").read_bytes() == metrics
