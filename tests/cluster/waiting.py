"""Waits for a condition that no event announces; never sleeps for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

from tests.cluster.errors import ClusterError

Answer = TypeVar("Answer")


def until(condition: Callable[[], Answer], what: str, timeout: float = 30, every: float = 0.05) -> Answer:
    """Call `condition` until it answers something true, and return that.

    Args:
        condition: asked again every `every` seconds.
        what: the thing waited for, in words, for the error.
        timeout: seconds.

    Raises:
        ClusterError: it never did; carries the last answer.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {timeout:.0f} s for {what}; the last answer was {answer!r}")
        time.sleep(every)
