"""A line to an API server that can be cut and mended, bytes as they are; knows nothing of what goes over it."""

import socket
import threading
from contextlib import suppress


class Relay:
    """Listens on a port of the loopback and passes connections on while it is open."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._lines: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0

    def open(self) -> None:
        """Begins to listen, always on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Ends every connection; new ones are refused until it is opened again."""
        assert self._listener is not None
        for line in [self._listener, *self._lines]:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()
        self._lines.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # closed: that is how it ends
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._to)
                self._lines += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pass, args=(source, sink), daemon=True).start()


def _pass(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
