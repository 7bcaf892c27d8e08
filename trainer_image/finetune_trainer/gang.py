"""The line between the supervisors of an attempt of several nodes: what one sees, all know at once.

Node 0 listens, the others call it. A line that breaks without a word says that the node at its other end is gone. What
follows from a message is decided in watch.py.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO, Literal

from finetune_api.trainer_contract import ContractModel, EndKind

from .hangs import Sight
from .verdict import Verdict

logger = logging.getLogger(__name__)

_LONGEST_MESSAGE = 1024 * 1024
_SECONDS_TO_CONNECT, _SECONDS_TO_GREET, _SECONDS_TO_SEND = 5.0, 10.0, 5
_SECONDS_UNTIL_A_WARNING = 60.0
# A node that lost its power closes no connection: after about a minute without an answer its line counts as broken.
_IDLE_SECONDS, _PROBE_SECONDS, _PROBES = 15, 5, 9


class Message(ContractModel):
    """What a supervisor says. Of another job or attempt it is not heard."""

    uid: str = ""
    attempt: int = 0
    node: int = 0
    """Who speaks; of `lost`, who is gone."""
    say: Literal["here", "cause", "leaving", "lost", "silent", "look", "sights"]
    cause: Verdict | None = None
    kind: EndKind | None = None
    """Of `leaving`: how the ranks there ended."""
    look: int = 0
    """Number of a look at all ranks, asked for with `look` and answered with `sights`."""
    sights: tuple[Sight, ...] = ()


class Gang:
    """This node's end of the lines."""

    def __init__(self, uid: str, attempt: int, node: int, wake: Callable[[], None]) -> None:
        self._uid, self._attempt, self.node = uid, attempt, node
        self._wake = wake
        self._heard: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._lines: dict[int, socket.socket] = {}
        self._lock = threading.Lock()
        self._owed: list[Message] = []
        self._left: set[int] = set()
        self._closed = False

    def listen(self, host: str, port: int) -> None:
        """Node 0: lets the others in. Raises OSError where the port is taken."""
        everywhere = not host and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if everywhere else socket.AF_INET
        server = socket.create_server((host, port), family=family, dualstack_ipv6=everywhere)
        self._start(self._let_in, server)

    def call(self, address: str, port: int) -> None:
        """Any other node: calls node 0 until it answers, beside everything else."""
        self._start(self._reach, address, port)

    @property
    def others(self) -> set[int]:
        """The nodes that can be spoken to now."""
        with self._lock:
            return set(self._lines)

    def tell(self, message: Message, besides: int | None = None) -> None:
        """To all nodes (node 0) or to node 0 (the others). Who comes later hears of a cause as well."""
        signed = message.model_copy(update={"uid": self._uid, "attempt": self._attempt, "node": self.node})
        with self._lock:
            lines = dict(self._lines)
            if message.say == "cause":
                self._owed.append(signed)
        for node, line in lines.items():
            if node != besides:
                self._send(line, signed)

    def heard(self) -> list[Message]:
        """What has come in since the last call; a message `lost` for a node that went without a word."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._heard.get_nowait())
        return found

    def close(self, kind: EndKind) -> None:
        """Says good-bye: from now on this node's silence means nothing."""
        self.tell(Message(say="leaving", kind=kind))
        with self._lock:
            self._closed = True
            lines = list(self._lines.values())
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_WR)

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=work, args=arguments, name="gang", daemon=True).start()

    def _let_in(self, server: socket.socket) -> None:
        while True:
            line, _ = server.accept()
            self._start(self._greet, line)

    def _greet(self, line: socket.socket) -> None:
        line.settimeout(_SECONDS_TO_GREET)
        reader = line.makefile("rb")
        hello = self._read(reader)
        if hello is None or hello.say != "here":
            line.close()
            return
        self._follow(line, reader, hello.node)

    def _reach(self, address: str, port: int) -> None:
        began, warned = time.monotonic(), False
        while not self._closed:
            try:
                line = socket.create_connection((address, port), _SECONDS_TO_CONNECT)
            except OSError as error:
                if not warned and time.monotonic() - began > _SECONDS_UNTIL_A_WARNING:
                    warned = True
                    logger.warning(
                        "Node 0 cannot be reached at %s:%d (%s): of the end of other nodes' ranks this one will hear "
                        "late. Pods of a job must be let through to one another.", address, port, error,
                    )  # fmt: skip
                time.sleep(0.2)
                continue
            here = Message(say="here", uid=self._uid, attempt=self._attempt, node=self.node)
            if self._send(line, here):
                self._follow(line, line.makefile("rb"), 0)
                return

    def _follow(self, line: socket.socket, reader: BinaryIO, node: int) -> None:
        """Hears a node out."""
        _keep_alive(line)
        with self._lock:
            self._lines[node] = line
            owed = list(self._owed)
        for message in owed:
            self._send(line, message)
        while (heard := self._read(reader)) is not None:
            if heard.say == "leaving":
                self._left.add(node)
            self._put(heard)
        with self._lock:
            self._lines.pop(node, None)
        if node not in self._left:
            self._put(Message(say="lost", node=node))

    def _read(self, reader: BinaryIO) -> Message | None:
        """The next message of this attempt; None when the line is closed, broken, or speaks of something else."""
        try:
            text = reader.readline(_LONGEST_MESSAGE)
            message = Message.load(text) if text else None
        except (OSError, ValueError):
            return None
        if message is None or (message.uid, message.attempt) != (self._uid, self._attempt):
            return None
        return message

    def _send(self, line: socket.socket, message: Message) -> bool:
        try:
            with self._lock:
                line.sendall(message.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n")
        except OSError:
            # What was cut off in the middle cannot be mended: the reader of this line, at both ends, is to notice.
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            return False
        return True

    def _put(self, message: Message) -> None:
        self._heard.put(message)
        self._wake()


def _keep_alive(line: socket.socket) -> None:
    line.settimeout(None)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SECONDS_TO_SEND, 0))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", _IDLE_SECONDS), ("TCP_KEEPINTVL", _PROBE_SECONDS), ("TCP_KEEPCNT", _PROBES)):
        if hasattr(socket, option):
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
