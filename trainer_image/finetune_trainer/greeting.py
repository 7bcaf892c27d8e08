"""How two supervisors of an attempt make sure of each other: each shows that it knows the attempt's token, unsaid.

A stranger who can reach the port can neither speak as a node nor listen. Not kept out is who may read the pods or the
Job, where the token stands, and who can change what goes over the wire after the greeting.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError

from finetune_api.trainer_contract import ContractModel

from .line import Line

_LONGEST_WORDS = 4096

Words = TypeVar("Words", bound=ContractModel)


@dataclass(frozen=True)
class Identity:
    """Who a supervisor is."""

    uid: str
    attempt: int
    node: int
    nodes: int
    token: str = field(repr=False)
    """What all pods of the attempt know and strangers do not; may be empty, and then keeps only accidents out."""
    instance: str = field(default_factory=lambda: secrets.token_hex(8))
    """Tells this supervisor from another one that takes its place."""

    @property
    def key(self) -> bytes:
        return hashlib.sha256("\n".join(("gang", self.uid, str(self.attempt), self.token)).encode()).digest()


class Hello(ContractModel):
    """The caller's first words: who it says it is."""

    node: int
    instance: str
    door: int
    """The port at which one can see that it is still there."""
    nonce: str


class Challenge(ContractModel):
    """Node 0's answer."""

    nonce: str


class Proof(ContractModel):
    """Of the caller, and then of node 0."""

    proof: str
    instance: str = ""
    """Of node 0."""


def introduce(line: Line, me: Identity, door: int) -> str | None:
    """The caller's side: the instance of node 0 once both are sure of each other, or None."""
    hello = Hello(node=me.node, instance=me.instance, door=door, nonce=secrets.token_hex(16))
    challenge = _heard(line, Challenge) if _say(line, hello) else None
    if challenge is None:
        return None
    proof = Proof(proof=_proof(me, "caller", hello, challenge))
    welcome = _heard(line, Proof) if _say(line, proof) else None
    if welcome is None or not _proves(welcome, me, f"node 0 {welcome.instance}", hello, challenge):
        return None
    return welcome.instance


def meet(line: Line, me: Identity, admits: Callable[[Hello], bool]) -> Hello | None:
    """Node 0's side: what a caller said of itself, once it has shown that it is of this attempt and `admits` has
    nothing against it; else None."""
    hello = _heard(line, Hello)
    if hello is None or not 0 < hello.node < me.nodes:
        return None
    challenge = Challenge(nonce=secrets.token_hex(16))
    proof = _heard(line, Proof) if _say(line, challenge) else None
    if proof is None or not _proves(proof, me, "caller", hello, challenge) or not admits(hello):
        return None
    # Where it has gone by now, that is noticed as with any other line: it was here, and may be lost.
    _say(line, Proof(proof=_proof(me, f"node 0 {me.instance}", hello, challenge), instance=me.instance))
    return hello


def _say(line: Line, words: ContractModel) -> bool:
    return line.send(words.model_dump_json(by_alias=True))


def _heard(line: Line, kind: type[Words]) -> Words | None:
    text = line.receive(_LONGEST_WORDS)
    try:
        return kind.load(text) if text else None
    except (ValueError, ValidationError):
        return None


def _proof(me: Identity, role: str, hello: Hello, challenge: Challenge) -> str:
    said = "\n".join((role, hello.model_dump_json(), challenge.model_dump_json()))
    return hmac.digest(me.key, said.encode(), "sha256").hex()


def _proves(words: Proof, me: Identity, role: str, hello: Hello, challenge: Challenge) -> bool:
    return hmac.compare_digest(words.proof.encode(), _proof(me, role, hello, challenge).encode())
