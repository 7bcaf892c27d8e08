"""What counts as progress between disruptions."""

from datetime import timedelta

import pytest

from finetune_api.v1alpha1.status import FineTuneJobStatus
from finetune_operator import recording
from finetune_operator.policies.disruption import LIMIT, too_often, without_progress
from tests.builders.observations import NOW, past


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        ([], 0),
        ([None], 1),
        ([None, None, None], 3),
        ([100, 100, 100], 3),
        ([80, 100], 1),
        ([80, 100, 100], 2),
        ([100, 80, 100, 80, 100], 5),
        ([100, 80, 100, 120], 1),
    ],
)
def test_progress_is_a_checkpoint_beyond_all_before_it(steps: list[int | None], count: int) -> None:
    assert without_progress([past("Evicted", to_step=step) for step in steps]) == count


def test_a_row_begins_after_the_last_end_of_another_kind() -> None:
    history = [past("PodDeleted", to_step=100), past("Crash", to_step=50), past("Evicted", to_step=60)]
    assert without_progress(history) == 1


@pytest.mark.parametrize(
    ("attempts", "charged"), [((1, 2, 3, 4), True), ((5, 5, 5, 5), False)], ids=["scheduler", "queue"]
)
def test_only_a_preemption_that_ends_an_attempt_is_one_of_a_row(attempts: tuple[int, ...], charged: bool) -> None:
    """A queue lets the same attempt go on: it may stop it as often as its quota wants."""
    history = [past("Preempted", attempt, to_step=100) for attempt in attempts]
    assert len(history) == LIMIT - 1
    assert too_often(FineTuneJobStatus(attempt=5, history=history), 100) == charged


def test_what_a_preempted_run_of_an_attempt_has_saved_is_progress() -> None:
    history = [past("Evicted", 1, to_step=100), past("Preempted", 2, to_step=120), past("Evicted", 2, to_step=120)]
    assert without_progress(history) == 1


def test_preemptions_by_a_queue_push_no_end_of_an_attempt_out_of_the_history() -> None:
    status, now = FineTuneJobStatus(), NOW
    for attempt in range(1, LIMIT):
        for reason in ["Preempted"] * recording.LONGEST_HISTORY + ["Evicted"]:
            now += timedelta(minutes=1)
            recording.open_run(status, attempt, now)
            recording.close_run(status, attempt, reason, now, now)
    assert status.history is not None
    assert len(status.history) == recording.LONGEST_HISTORY
    assert [run.attempt for run in status.history if run.reason == "Evicted"] == list(range(1, LIMIT))
    status.attempt = LIMIT
    assert too_often(status, None)
