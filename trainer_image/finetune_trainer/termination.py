"""Whether this attempt was asked to end. Imports nothing heavy, so that process 1 hears it from its first moment."""

from __future__ import annotations

import signal


class Termination:
    """The request that SIGTERM or Ctrl-C makes of process 1."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Installs the handlers; main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        self.requested = True
