"""Hands out free TCP ports that stay ours; opens no server."""

import socket
import sys


class Port:
    """A TCP port on an address, kept from everybody else while this object lives.

    On Linux a bound socket that does not listen keeps the kernel from handing the port out, and still lets a
    program that sets SO_REUSEADDR (every Go server) listen on it, also a second time after a kill.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((address, 0))
        self.number: int = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self._socket.close()

    def __str__(self) -> str:
        return str(self.number)

    def release(self) -> None:
        """Give the port back."""
        self._socket.close()
