"""Another number of processes for a job that was suspended: the effective batch stays, or the job says what fits."""

from __future__ import annotations

from typing import Any

import pytest

from finetune_api.v1alpha1.batch import share
from finetune_api.v1alpha1.status import EffectiveStatus
from finetune_operator.conditions import find
from finetune_operator.decide import decide
from finetune_operator.settings import Settings
from tests.builders.observations import NOW, JobSeen, a_job, past

SETTINGS = Settings()


@pytest.mark.parametrize(
    ("effective", "processes", "at_most", "shared"),
    [
        (8, 1, 4, (4, 2)),
        (8, 2, 4, (4, 1)),
        (8, 4, 8, (2, 1)),
        (12, 3, 3, (2, 2)),
        (8, 3, 8, None),
        (8, 16, 8, None),
    ],
)
def test_a_batch_is_shared_in_the_largest_pieces_that_fit(
    effective: int, processes: int, at_most: int, shared: tuple[int, int] | None
) -> None:
    assert share(effective, processes, at_most) == shared


def resumed(nodes: int, **before: Any) -> JobSeen:
    """A job that began on one node and is to go on with another number of them."""
    effective = {"per_device_batch_size": 4, "gradient_accumulation_steps": 2, "world_size": 1, "gpus": 0}
    return (
        a_job()
        .with_spec(compute={"gpusPerNode": 0, "nodes": nodes})
        .in_phase("Suspended", attempt=2)
        .with_status(history=[past("Suspended")], effective=EffectiveStatus(**{**effective, **before}))
    )


def test_more_processes_accumulate_less() -> None:
    decision = decide(resumed(nodes=2).build(), SETTINGS, NOW)
    assert decision.status is not None
    effective = decision.status.effective
    assert effective is not None
    assert (effective.world_size, effective.per_device_batch_size, effective.gradient_accumulation_steps) == (2, 4, 1)
    (child,) = [document for document in decision.create if document["kind"] == "Job"]
    assert child["spec"]["completions"] == 2


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_starts() -> None:
    decision = decide(resumed(nodes=3).build(), SETTINGS, NOW)
    assert decision.create == ()
    assert decision.status is not None
    accepted = find(decision.status.conditions, "Accepted")
    assert accepted is not None
    assert (accepted.status, accepted.reason) == ("False", "BatchNotShared")
    assert "8 examples per optimizer step, and 3 processes cannot share them evenly" in accepted.message
    assert decision.status.attempt == 2


def test_a_refused_size_can_be_taken_back() -> None:
    refused = decide(resumed(nodes=3).build(), SETTINGS, NOW).status
    assert refused is not None
    paused = decide(resumed(nodes=3).with_(status=refused).suspended().build(), SETTINGS, NOW).status
    assert paused is not None
    assert paused.phase == "Suspended"
    again = decide(resumed(nodes=4).with_(status=paused).build(), SETTINGS, NOW)
    assert again.status is not None
    accepted = find(again.status.conditions, "Accepted")
    assert accepted is not None
    assert (accepted.status, again.status.phase) == ("True", "Starting")


def test_the_same_size_keeps_what_memory_taught() -> None:
    decision = decide(resumed(nodes=1, per_device_batch_size=1, gradient_accumulation_steps=8).build(), SETTINGS, NOW)
    assert decision.status is not None
    effective = decision.status.effective
    assert effective is not None
    assert (effective.per_device_batch_size, effective.gradient_accumulation_steps) == (1, 8)
