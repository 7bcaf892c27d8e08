"""The lines between supervisors: they outlive a bad moment of the network, tell who is gone, and let no stranger in."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finetune_api.trainer_contract import ContractModel, EndKind
from finetune_trainer import gang as gang_module
from finetune_trainer import greeting
from finetune_trainer.gang import Gang
from finetune_trainer.greeting import Identity, Proof, introduce
from finetune_trainer.line import Line
from finetune_trainer.messages import Message
from finetune_trainer.verdict import Verdict

from .attempts import PATIENCE_SECONDS, free_port
from .cable import Cable

FOR_EVER = 100_000.0
TOKEN = "the uid of the Job"
CAUSE = Message(say="cause", cause=Verdict(kind=EndKind.INTERNAL_ERROR, message="rank 1 fell over", rank=1, node=1))


def a_supervisor(node: int, *, seconds: float = FOR_EVER, token: str = TOKEN, nodes: int = 2) -> Gang:
    """`seconds`: how long it waits for a broken line."""
    gang = Gang(Identity("uid-1", 1, node, nodes, token), lambda: None, seconds)
    _GANGS.append(gang)
    return gang


_GANGS: list[Gang] = []


@pytest.fixture(autouse=True)
def nobody_calls_any_more() -> Iterator[None]:
    """Afterwards: the tests that follow fork, and a thread that is at work then may leave a lock to the child."""
    yield
    while _GANGS:
        _GANGS.pop()._closed = True


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def said(gang: Gang) -> Message:
    """The next message."""
    heard: list[Message] = []
    until(lambda: heard or heard.extend(gang.heard()) or heard, "a message")
    assert len(heard) == 1, heard
    return heard[0]


class Pair:
    """Node 0 and node 1 with a cable between them."""

    def __init__(self, *, seconds: float = FOR_EVER) -> None:
        self.port = free_port()
        self.zero, self.one = a_supervisor(0, seconds=seconds), a_supervisor(1, seconds=seconds)
        self.zero.listen("127.0.0.1", self.port)
        self.cable = Cable(self.port)
        self.one.call("127.0.0.1", self.cable.port)
        self.until_connected()

    def until_connected(self) -> None:
        until(lambda: self.zero.others == {1} and self.one.others == {0}, "a line")


def test_a_line_that_breaks_is_there_again_and_nobody_was_lost() -> None:
    pair = Pair()
    pair.cable.cut()
    until(lambda: pair.cable.calls == 2, "a second call")
    pair.until_connected()
    pair.one.tell(Message(say="silent"))
    assert (said(pair.zero).say, pair.zero.heard(), pair.one.heard()) == ("silent", [], [])


def test_an_end_that_was_told_while_the_line_was_broken_is_heard_when_it_is_back() -> None:
    pair = Pair()
    pair.cable.unplug()
    until(lambda: pair.zero.away == {1} and pair.one.away == {0}, "both to notice")
    pair.one.tell(CAUSE)
    assert pair.zero.heard() == []
    pair.cable.plugged = True
    heard = said(pair.zero)
    assert (heard.say, heard.node, heard.cause) == ("cause", 1, CAUSE.cause)


def test_a_good_bye_waits_for_the_line_to_come_back() -> None:
    pair = Pair()
    pair.cable.unplug()
    until(lambda: pair.zero.away and pair.one.away, "both to notice")
    pair.cable.plugged = True
    pair.one.close(EndKind.FINISHED)
    heard = said(pair.zero)
    assert (heard.say, heard.kind) == ("leaving", EndKind.FINISHED)
    until(lambda: not pair.zero.others and not pair.zero.away, "the line to be over")
    assert pair.zero.heard() == [], "it is gone, and not lost"


def test_a_good_bye_after_a_request_to_stop_does_not_wait_that_long() -> None:
    pair = Pair()
    pair.cable.unplug()
    until(lambda: pair.one.away == {0}, "the node to notice")
    pair.one.close(EndKind.INTERRUPTED, 0.05)
    assert pair.one.away == {0}, "it went without having been heard"


def test_who_speaks_letter_by_letter_is_shown_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune_trainer.gang._SECONDS_TO_GREET", 0.5)
    port = free_port()
    a_supervisor(0).listen("127.0.0.1", port)
    with socket.create_connection(("127.0.0.1", port)) as stranger, contextlib.suppress(OSError):
        stranger.settimeout(0.02)
        until(lambda: _hung_up(stranger), "the end of the line")


def _hung_up(stranger: socket.socket) -> bool:
    """Whether the other end has ended the line; says one more letter to it."""
    stranger.sendall(b"x")
    try:
        return stranger.recv(1) == b""
    except TimeoutError:
        return False


def test_a_line_that_stays_broken_loses_the_node_on_either_side() -> None:
    pair = Pair(seconds=0.3)
    pair.cable.unplug()
    assert (said(pair.zero), said(pair.one)) == (Message(say="lost", node=1), Message(say="lost", node=0))
    assert pair.zero.away == pair.one.away == set()


def test_a_node_that_comes_back_in_the_last_moment_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, looked = Pair(), list[object]()
    monkeypatch.setattr(pair.zero, "_seconds_to_return", 0.0)

    def comes_back_meanwhile(door: object) -> bool:
        pair.cable.plugged = True
        pair.until_connected()
        looked.append(door)
        return False

    monkeypatch.setattr("finetune_trainer.gang._refuses", comes_back_meanwhile)
    pair.cable.unplug()
    until(lambda: looked, "node 0 to look")
    pair.one.tell(Message(say="silent"))
    assert (said(pair.zero).say, pair.zero.heard()) == ("silent", [])


def test_a_node_that_goes_while_it_is_being_greeted_is_lost(
    leader: tuple[Gang, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    zero, port = leader
    say = greeting._say

    def hang_up_before_the_welcome(line: Line, words: ContractModel) -> bool:
        if isinstance(words, Proof) and words.instance:
            line.cut()
        return say(line, words)

    monkeypatch.setattr(greeting, "_say", hang_up_before_the_welcome)
    caller = Line(socket.create_connection(("127.0.0.1", port)), PATIENCE_SECONDS)
    assert introduce(caller, Identity("uid-1", 1, 1, 3, TOKEN), door=free_port()) is None
    assert said(zero) == Message(say="lost", node=1)
    assert zero.away == set()


# -- strangers


@pytest.fixture
def leader() -> tuple[Gang, int]:
    """Node 0 of three, and its port."""
    port = free_port()
    gang = a_supervisor(0, nodes=3)
    gang.listen("127.0.0.1", port)
    return gang, port


def ask(port: int, *words: object) -> bytes:
    """What a caller hears that says these words, whatever is answered."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port)) as caller:
        with contextlib.suppress(OSError):  # the other end may have hung up before the last word
            for word in words:
                caller.sendall(json.dumps(word).encode() + b"\n")
            caller.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while content := caller.recv(65536):
                heard += content
    return heard


HELLO = {"node": 1, "instance": "me", "door": 1, "nonce": "00"}


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        (["GET / HTTP/1.1"], 0),
        ([{"say": "cause", "uid": "uid-1", "attempt": 1, "node": 1, "cause": {"kind": "InternalError"}}], 0),
        ([HELLO | {"node": 0}], 0),
        ([HELLO | {"node": 3}], 0),
        ([HELLO, {"proof": "00" * 32}, {"say": "cause", "cause": {"kind": "InternalError"}}], 1),
    ],
    ids=["speaks HTTP", "does not greet", "says it is node 0", "is a node too many", "guesses"],
)
def test_a_stranger_is_not_heard_who(words: list[object], answers: int, leader: tuple[Gang, int]) -> None:
    gang, port = leader
    assert ask(port, *words).count(b"\n") == answers, "a challenge at most"
    assert (gang.heard(), gang.others) == ([], set())


def test_strangers_who_call_and_say_nothing_keep_no_node_out(
    leader: tuple[Gang, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune_trainer.gang._SECONDS_TO_GREET", FOR_EVER)
    monkeypatch.setattr("finetune_trainer.gang._SECONDS_TO_PROVE", 0.2)
    gang, port = leader
    with contextlib.ExitStack() as silent:
        for _ in range(100):
            silent.enter_context(socket.create_connection(("127.0.0.1", port)))
        a_supervisor(2, nodes=3).call("127.0.0.1", port)
        until(lambda: gang.others == {2}, "the node")


def test_more_nodes_than_places_that_take_their_time_to_answer_all_come_in(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    say = greeting._say

    def say_slowly(line: Line, words: ContractModel) -> bool:
        if isinstance(words, Proof) and not words.instance:
            time.sleep(0.2)
        return say(line, words)

    monkeypatch.setattr(greeting, "_say", say_slowly)
    many, port = 2 * gang_module._MOST_STRANGERS, free_port()
    zero = a_supervisor(0, nodes=many + 1)
    zero.listen("127.0.0.1", port)
    for node in range(1, many + 1):
        a_supervisor(node, nodes=many + 1).call("127.0.0.1", port)
    until(lambda: len(zero.others) == many, "all nodes")
    assert (zero.heard(), zero.away) == ([], set())
    assert "no node of this attempt" not in caplog.text


@pytest.mark.parametrize("token", ["another one", ""])
def test_without_the_token_nobody_is_let_in_and_nobody_is_listened_to(
    token: str, leader: tuple[Gang, int], caplog: pytest.LogCaptureFixture
) -> None:
    gang, port = leader
    stranger = a_supervisor(1, token=token)
    stranger.call("127.0.0.1", port)
    until(lambda: "no node of this attempt has called" in caplog.text, "a warning")
    stranger.tell(CAUSE)
    gang.tell(CAUSE)
    assert (gang.heard(), gang.others, stranger.heard(), stranger.others) == ([], set(), [], set())


def test_a_second_supervisor_of_a_node_is_not_heard_while_the_first_is_there(
    leader: tuple[Gang, int], caplog: pytest.LogCaptureFixture
) -> None:
    gang, port = leader
    first, second = a_supervisor(2, nodes=3), a_supervisor(2, nodes=3)
    first.call("127.0.0.1", port)
    until(lambda: gang.others == {2}, "the first")
    second.call("127.0.0.1", port)
    until(lambda: "A second node 2 has called" in caplog.text, "a warning")
    second.tell(CAUSE)
    first.tell(Message(say="silent"))
    assert (said(gang).say, second.others) == ("silent", set())


def test_node_0_that_was_replaced_is_lost(tmp_path: Path) -> None:
    pair = Pair()
    port = free_port()
    replacing = a_supervisor(0)
    replacing.listen("127.0.0.1", port)
    pair.cable._target = port
    pair.cable.cut()
    assert said(pair.one) == Message(say="lost", node=0)
    assert replacing.others == set()
