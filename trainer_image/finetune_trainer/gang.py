"""The lines between the supervisors of an attempt of several nodes: what one sees, all know at once.

Node 0 listens, the others call it. A line that breaks without a good-bye is called again for a while: a network has
moments of which the ranks need not die. Where nobody is left to answer, or the line stays broken, the node at its other
end is lost. What follows from a message is decided in watch.py.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from finetune_api.trainer_contract import EndKind

from .greeting import Hello, Identity, introduce, meet
from .line import Line
from .messages import Message

logger = logging.getLogger(__name__)

SECONDS_TO_RETURN = 20.0
"""How long a line may be broken before the node at its other end counts as lost."""
_SECONDS_TO_CONNECT, _SECONDS_TO_GREET = 5.0, 10.0
_SECONDS_BETWEEN_CALLS = 0.2
_SECONDS_UNTIL_A_WARNING = 60.0
# A port that was open and refuses twice has nobody behind it any more.
_REFUSALS = 2
_MOST_STRANGERS = 64
_SECONDS_TO_PROVE = 2.0
"""How long a caller keeps its place however many others wait: a busy node of this attempt needs some time to answer."""


@dataclass
class _Peer:
    """Another node's supervisor that was met."""

    instance: str
    door: tuple[str, int]
    """Where it listens as long as it is there."""
    line: Line | None = None
    """None while it is broken."""
    met: bool = False
    over: bool = False
    """It has said good-bye, or is lost."""


class Gang:
    """This node's ends of the lines."""

    def __init__(self, me: Identity, wake: Callable[[], None], seconds_to_return: float | None = None) -> None:
        self._me = me
        self._wake = wake
        self._seconds_to_return = SECONDS_TO_RETURN if seconds_to_return is None else seconds_to_return
        self._heard: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._peers: dict[int, _Peer] = {}
        self._lock = threading.Lock()
        self._owed: list[Message] = []
        self._room = threading.BoundedSemaphore(_MOST_STRANGERS)
        self._strangers: dict[Line, float] = {}
        """Who has called and is not known yet, and when; the oldest first."""
        self._warned: set[str] = set()
        self._closed = False

    def listen(self, host: str, port: int) -> None:
        """Node 0: lets the others in. Raises OSError where the port is taken."""
        everywhere = not host and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if everywhere else socket.AF_INET
        server = socket.create_server((host, port), family=family, dualstack_ipv6=everywhere)
        self._start(self._answer, server, self._greet)

    def call(self, address: str, port: int) -> None:
        """Any other node: calls node 0 until it answers, beside everything else."""
        everywhere = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if everywhere else socket.AF_INET
        # Nobody speaks here: that the port is open says that this supervisor is there.
        door = socket.create_server(("", 0), family=family, dualstack_ipv6=everywhere)
        self._start(self._answer, door, socket.socket.close)
        self._start(self._keep_calling, (address, port), door.getsockname()[1])

    @property
    def others(self) -> set[int]:
        """The nodes that can be spoken to now."""
        with self._lock:
            return {node for node, peer in self._peers.items() if peer.line is not None}

    @property
    def away(self) -> set[int]:
        """The nodes whose line is broken, and may come back."""
        with self._lock:
            return {node for node, peer in self._peers.items() if peer.line is None and not peer.over}

    def tell(self, message: Message) -> None:
        """To all nodes (node 0) or to node 0 (the others). Who comes later, or back, hears of an end as well."""
        with self._lock:
            lines = [peer.line for peer in self._peers.values() if peer.line is not None]
            if message.say in ("cause", "leaving"):
                self._owed.append(message)
        for line in lines:
            message.send(line)

    def heard(self) -> list[Message]:
        """What has come in since the last call; a message `lost` for a node that went without a word."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._heard.get_nowait())
        return found

    def close(self, kind: EndKind, seconds: float | None = None) -> None:
        """Says good-bye, for so many seconds also to who is just away: this node's silence means nothing any more."""
        self.tell(Message(say="leaving", kind=kind))
        deadline = time.monotonic() + (self._seconds_to_return if seconds is None else seconds)
        while self.away and time.monotonic() < deadline:
            time.sleep(_SECONDS_BETWEEN_CALLS / 4)
        with self._lock:
            self._closed = True
            lines = [peer.line for peer in self._peers.values() if peer.line is not None]
        for line in lines:
            line.finish()

    # -- node 0

    def _answer(self, server: socket.socket, then: Callable[[socket.socket], object]) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError as error:  # of that connection, or no more descriptors for the moment
                logger.debug("A call could not be taken: %s", error)
                time.sleep(_SECONDS_BETWEEN_CALLS)
                continue
            then(connection)

    def _greet(self, connection: socket.socket) -> None:
        while not self._room.acquire(timeout=self._seconds_of_the_oldest()):
            # Whoever keeps a place in silence gives way; whoever waits for one meanwhile is not refused.
            with self._lock:
                oldest = next(iter(self._strangers), None)
                if oldest is not None:
                    del self._strangers[oldest]
                    oldest.cut()
            if self._room.acquire(timeout=_SECONDS_BETWEEN_CALLS):
                break
        line = Line(connection, _SECONDS_TO_GREET)
        with self._lock:
            self._strangers[line] = time.monotonic()
        try:
            self._start(self._let_in, line)
        except RuntimeError as error:  # no more threads for the moment
            logger.debug("A call could not be taken: %s", error)
            self._give_place_back(line)
            line.cut()

    def _seconds_of_the_oldest(self) -> float:
        """How long the oldest of the strangers still has its place for sure."""
        with self._lock:
            since = next(iter(self._strangers.values()), time.monotonic())
        return max(0.0, since + _SECONDS_TO_PROVE - time.monotonic())

    def _give_place_back(self, line: Line) -> None:
        with self._lock:
            self._strangers.pop(line, None)
        self._room.release()

    def _let_in(self, line: Line) -> None:
        # The patience above is with each word: whoever sends bytes one by one would keep a place for as long.
        alarm = threading.Timer(_SECONDS_TO_GREET, line.cut)
        alarm.daemon = True
        try:
            alarm.start()
            hello = meet(line, self._me, lambda hello: self._admits(hello, line))
        except (OSError, RuntimeError):  # the latter: no more threads for the moment
            hello = None
        finally:
            alarm.cancel()
            self._give_place_back(line)
        if hello is None:
            self._warn_once("Somebody who is no node of this attempt has called, and is not heard.")
            line.cut()
            return
        with self._lock:
            peer = self._peers[hello.node]
        self._follow(hello.node, peer, line)
        self._wait_for_return(hello.node, peer)

    def _admits(self, hello: Hello, line: Line) -> bool:
        """Whether the node that has called, and has shown that it knows the attempt, is the one that has its place."""
        with self._lock:
            if self._strangers.pop(line, None) is None:
                return False  # it came too late, and was cut
            peer = self._peers.setdefault(hello.node, _Peer(hello.instance, (line.host, hello.door)))
        if peer.instance == hello.instance:
            return not peer.over
        if peer.line is None:
            self._lose(hello.node, peer)  # in whose place this one has come
        self._warn_once(f"A second node {hello.node} has called, and is not heard.")
        return False

    def _wait_for_return(self, node: int, peer: _Peer) -> None:
        deadline, refusals = time.monotonic() + self._seconds_to_return, 0
        while self._is_away(peer):
            refusals = refusals + 1 if _refuses(peer.door) else 0
            if refusals >= _REFUSALS or time.monotonic() > deadline:
                self._lose(node, peer)
                return
            time.sleep(_SECONDS_BETWEEN_CALLS)

    # -- the others

    def _keep_calling(self, address: tuple[str, int], door: int) -> None:
        """Calls node 0 until it answers, and again whenever the line breaks."""
        peer: _Peer | None = None
        since, refusals, warned = time.monotonic(), 0, False
        while not self._closed and (peer is None or not peer.over):
            problem = "it does not know this pod"
            try:
                line = Line(socket.create_connection(address, _SECONDS_TO_CONNECT), _SECONDS_TO_GREET)
                refusals = 0
                if (instance := introduce(line, self._me, door)) is not None:
                    with self._lock:
                        peer = self._peers.setdefault(0, _Peer(instance, address))
                    if peer.instance == instance:
                        self._follow(0, peer, line)
                        since = time.monotonic()
                        continue
                    self._lose(0, peer)  # another one has its place
                line.cut()
            except OSError as error:
                problem = str(error)
                refusals = refusals + 1 if isinstance(error, ConnectionRefusedError) else 0
            waited = time.monotonic() - since
            if peer is not None and (refusals >= _REFUSALS or waited > self._seconds_to_return):
                self._lose(0, peer)
            elif peer is None and not warned and waited > _SECONDS_UNTIL_A_WARNING:
                warned = True
                logger.warning(
                    "Node 0 cannot be reached at %s:%d (%s): of the end of other nodes' ranks this one will hear "
                    "late. Pods of a job must be let through to one another.", *address, problem,
                )  # fmt: skip
            time.sleep(_SECONDS_BETWEEN_CALLS)

    # -- both

    def _follow(self, node: int, peer: _Peer, line: Line) -> None:
        """Hears a node out, until its line ends."""
        line.keep()
        with self._lock:
            former, peer.line = peer.line, line
            again, peer.met = peer.met, True
            for message in self._owed:
                message.send(line)
        logger.info("The line to node %d is there%s", node, " again" if again else "")
        if former is not None:
            former.cut()
        while (heard := Message.receive(line)) is not None:
            if heard.say == "leaving":
                peer.over = True
            self._put(heard.model_copy(update={"node": node}))
        with self._lock:
            broken = peer.line is line
            peer.line = None if broken else peer.line
        if broken and not peer.over and not self._closed:
            logger.warning("The line to node %d is broken", node)
        line.cut()

    def _is_away(self, peer: _Peer) -> bool:
        with self._lock:
            return peer.line is None and not peer.over and not self._closed

    def _lose(self, node: int, peer: _Peer) -> None:
        with self._lock:
            if peer.over or self._closed or peer.line is not None:  # it came back in the last moment
                return
            peer.over = True
        self._put(Message(say="lost", node=node))

    def _warn_once(self, warning: str) -> None:
        with self._lock:
            new = warning not in self._warned
            self._warned.add(warning)
        if new:
            logger.warning(warning)

    def _put(self, message: Message) -> None:
        self._heard.put(message)
        self._wake()

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=work, args=arguments, name="gang", daemon=True).start()


def _refuses(door: tuple[str, int]) -> bool:
    try:
        socket.create_connection(door, 1.0).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
