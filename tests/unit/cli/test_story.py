"""What the views of a run tell, from the objects that the operator writes."""

from __future__ import annotations

import io
from typing import Any

from finetune_api.trainer_contract import ProgressReport
from finetune_cli.running.plain import PlainView
from finetune_cli.running.story import Story, waiting_for


def a_job(phase: str, attempt: int = 1, said: str = "", **status: Any) -> dict[str, Any]:
    conditions = [{"type": "Running", "status": "False", "reason": "Crash", "message": said}]
    return {"status": {"phase": phase, "attempt": attempt, "conditions": conditions, **status}}


def a_report(stage: str, **fields: Any) -> ProgressReport:
    return ProgressReport.model_validate(
        {"contractVersion": 1, "uid": "u", "attempt": 1, "run": 1, "stage": stage, "updatedAt": "2026-01-01T00:00:00Z"}
        | fields
    )


def told(story: Story, job: dict[str, Any]) -> list[str]:
    return [line.text for line in story.job(job)]


def test_a_retry_is_told_once_with_its_cause_and_where_it_goes_on() -> None:
    story, checkpoint = Story(), {"latest": {"step": 10}}
    retrying = a_job("Retrying", 2, "attempt 1 ended: Crash: Rank 0 was killed by SIGKILL.", checkpoint=checkpoint)

    assert told(story, retrying) == [
        "attempt 1 ended: Crash: Rank 0 was killed by SIGKILL; attempt 2 follows from the checkpoint of step 10"
    ]
    assert told(story, retrying) == []


def test_every_retry_is_told_although_there_is_one_event_a_minute() -> None:
    story = Story()

    lines = [told(story, a_job("Retrying", attempt, f"attempt {attempt - 1} ended: Crash")) for attempt in (2, 3)]

    assert [line.partition(";")[0] for (line,) in lines] == ["attempt 1 ended: Crash", "attempt 2 ended: Crash"]


def test_what_the_next_attempt_does_with_less_memory_is_told() -> None:
    story = Story()
    because = ["precision FP32 on cpu", "perDeviceBatchSize 4, gradientAccumulationSteps 2: memory ran out"]
    retrying = a_job(
        "Retrying", 2, "attempt 1 ended: DeviceOutOfMemory", restarts={"outOfMemory": 1}, effective={"because": because}
    )

    assert told(story, retrying)[1:] == [f"Adapted: {because[-1]}"]


def test_the_end_is_left_to_the_last_words() -> None:
    story = Story()
    told(story, a_job("Failed"))

    assert list(story.event({"type": "Warning", "reason": "UserError", "note": "attempt 1 ended"})) == []


def test_a_warning_of_operator_and_trainer_is_told_once() -> None:
    story = Story()

    first = told(story, a_job("Running", warnings=["the disk is full"]))
    again = list(story.report(a_report("Training", warnings=["the disk is full"])))

    assert (first, again) == (["warning: the disk is full"], [])


def test_a_paused_job_says_where_it_stands() -> None:
    checkpoint = {"latest": {"step": 106}}

    assert waiting_for({"phase": "Suspended", "checkpoint": checkpoint}) == "paused at the checkpoint of step 106"
    assert waiting_for({"phase": "Running", "checkpoint": checkpoint}) == ""


def test_saving_takes_one_line_of_a_log() -> None:
    said = io.StringIO()
    view = PlainView(said)
    saved = {"checkpoint": {"latest": {"step": 5, "time": "2026-01-01T00:00:00Z", "bytes": 1}, "count": 1}}

    for stage, more in (("Training", {}), ("Saving", {}), ("Training", saved)):
        view.report(a_report(stage, **more))

    assert [line.partition(" ")[2] for line in said.getvalue().splitlines()] == ["training", "checkpoint at step 5"]
