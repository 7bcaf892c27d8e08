"""SIGTERM in a rank: before and after training it ends the rank at once, while training it only sets a flag."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import Interrupted

# ExitCode.INTERRUPTED, which is imported only after the handler is in place.
INTERRUPTED_EXIT_CODE = 14


class Interruption:
    """The flag that SIGTERM sets."""

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False
        self._caught = False

    def listen(self) -> None:
        """Installs the handler; main thread only."""
        signal.signal(signal.SIGTERM, self._on_signal)
        # Ctrl-C reaches the whole process group: the supervisor turns it into one SIGTERM.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def caught(self) -> None:
        """From now on somebody catches Interrupted; before, the process ends on the spot with the code for it."""
        self._caught = True

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within, SIGTERM only sets the flag: who trains ends at the next agreed step."""
        if self.requested:
            raise Interrupted
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _on_signal(self, *_: object) -> None:
        self.requested = True
        if not self._caught:
            os._exit(INTERRUPTED_EXIT_CODE)
        if not self._deferred:
            raise Interrupted
