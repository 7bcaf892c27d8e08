"""What the operator shows of a running job's checkpoints, also after it was away."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.builders.manifests import a_manifest
from tests.cluster.pods import PodPlayer
from tests.cluster.waiting import until
from tests.integration.jobs import Jobs
from tests.integration.operator_process import StartOperator

JOB = "python-coder"


def test_a_checkpoint_written_while_no_operator_ran_is_shown_by_the_next(
    start_operator: StartOperator,
    jobs: Jobs,
    pods: PodPlayer,
    serve_progress: Callable[[str, dict[str, Any]], list[str]],
) -> None:
    first = start_operator()
    jobs.apply(a_manifest())
    (pod,) = pods.wait()
    report = {"uid": jobs.get(JOB)["metadata"]["uid"], "attempt": 1, "run": 1, "stage": "Training"}
    now = datetime.now(UTC)
    report |= {"step": 120, "totalSteps": 400, "updatedAt": now.isoformat()}
    report["checkpoint"] = {"latest": {"step": 100, "bytes": 4096, "seconds": 2.5}, "count": 1}
    serve_progress(pods.run(pod), report)
    until(lambda: jobs.status(JOB).get("checkpoint"), "the first checkpoint")
    assert jobs.status(JOB)["checkpoint"]["latest"] == {"step": 100, "bytes": 4096, "seconds": 2.5}

    first.kill()
    report |= {"step": 230, "updatedAt": (now + timedelta(seconds=30)).isoformat()}
    report["checkpoint"] = {"latest": {"step": 200, "bytes": 4096}, "count": 2}
    report["warnings"] = ["The checkpoint of step 150 could not be written (No space left on device)"]
    start_operator()
    until(lambda: jobs.status(JOB)["checkpoint"]["latest"]["step"] == 200, "the newest checkpoint")
    assert jobs.status(JOB)["checkpoint"]["count"] == 2
    assert "No space left" in jobs.status(JOB)["warnings"][-1]
    until(lambda: "TrainerWarning" in jobs.events(JOB), "the event")
    assert jobs.children() == [f"{JOB}-1"]
