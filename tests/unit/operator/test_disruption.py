"""What counts as progress between disruptions."""

import pytest

from finetune_operator.policies.disruption import without_progress
from tests.builders.observations import past


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
