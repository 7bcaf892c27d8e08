"""Waits for a condition that no event announces; never sleeps for a fixed time."""

import ssl
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
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


def answers(url: str, ca_file: Path | None = None) -> bool:
    """Say whether a GET of the URL answers 200 within two seconds."""
    context = ssl.create_default_context(cafile=str(ca_file)) if url.startswith("https") else None
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
