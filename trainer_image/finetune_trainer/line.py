"""One TCP line between two supervisors: whole pieces of text in order, or its end. Knows nothing of what they mean."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

LONGEST_TEXT = 1024 * 1024
_SECONDS_TO_SEND = 5
# A node that lost its power closes no connection: after about a minute without an answer its line counts as broken.
_IDLE_SECONDS, _PROBE_SECONDS, _PROBES = 15, 5, 9


class Line:
    """One end of a connection; several threads may send, one receives."""

    def __init__(self, connection: socket.socket, seconds_for_words: float) -> None:
        """`seconds_for_words`: the patience with the other end until `keep` is called."""
        self._connection = connection
        self._connection.settimeout(seconds_for_words)
        self._reader = connection.makefile("rb")
        self._lock = threading.Lock()

    @property
    def host(self) -> str:
        """The address of the other end. Raises OSError where it has gone."""
        return str(self._connection.getpeername()[0])

    def keep(self) -> None:
        """From now on the other end may be silent for as long as it likes, if only it is there."""
        connection = self._connection
        connection.settimeout(None)
        wanted = {"TCP_KEEPIDLE": _IDLE_SECONDS, "TCP_KEEPINTVL": _PROBE_SECONDS, "TCP_KEEPCNT": _PROBES}
        with contextlib.suppress(OSError):  # it has ended already, which shows at the first word
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SECONDS_TO_SEND, 0))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option in wanted.keys() & set(dir(socket)):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), wanted[option])

    def send(self, text: str) -> bool:
        """Whether the text was put on its way."""
        try:
            with self._lock:
                self._connection.sendall(text.encode() + b"\n")
        except OSError:
            # What was cut off in the middle cannot be mended: whoever receives, at both ends, is to notice.
            self.cut()
            return False
        return True

    def receive(self, longest: int = LONGEST_TEXT) -> bytes | None:
        """The next text; None when the line is closed or broken, or the text is longer than that."""
        try:
            text = self._reader.readline(longest)
        except (OSError, ValueError):
            return None
        return text if text.endswith(b"\n") else None

    def finish(self) -> None:
        """Says no more, and lets the other end finish."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Ends the line at once, for whoever receives as well."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._connection.close()
