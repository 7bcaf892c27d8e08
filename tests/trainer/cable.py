"""A cable between two supervisors that can be cut and unplugged: a TCP relay on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Cable:
    """Listens on a port of its own and carries what comes there to `port`, both ways."""

    def __init__(self, port: int, server: socket.socket | None = None) -> None:
        self._target = port
        self._server = server or socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._ends: list[socket.socket] = []
        self.plugged = True
        self.calls = 0
        """How often somebody was carried."""
        threading.Thread(target=self._carry_calls, daemon=True).start()

    def cut(self) -> None:
        """Resets every connection, as a router does that has forgotten them."""
        ends, self._ends = self._ends, []
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RD)
            end.close()

    def unplug(self) -> None:
        """Cut, and for the time being nobody comes through; nobody is refused either."""
        self.plugged = False
        self.cut()

    @classmethod
    @contextmanager
    def in_a_process(cls, port: int) -> Iterator[tuple[int, int]]:
        """Its port, and the process that SIGUSR1 makes cut it: a process that forks others must have no threads."""
        server = socket.create_server(("127.0.0.1", 0))
        pid = os.fork()
        if pid == 0:
            cable = cls(port, server)
            signal.signal(signal.SIGUSR1, lambda *_: cable.cut())
            while True:
                signal.pause()
        try:
            yield server.getsockname()[1], pid
        finally:
            server.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _carry_calls(self) -> None:
        while True:
            caller, _ = self._server.accept()
            if not self.plugged:
                caller.close()
                continue
            try:
                called = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                # As where nobody listens: the call is reset.
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                caller.close()
                continue
            self.calls += 1
            self._ends += [caller, called]
            for source, target in ((caller, called), (called, caller)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65536):
                target.sendall(content)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
