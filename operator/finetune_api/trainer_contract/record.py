"""The record of an attempt: its termination message, of which the operator decides what follows."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from .checkpoint import CheckpointState
from .effective import Effective
from .ends import EndKind
from .message import CONTRACT_VERSION, ContractModel

MAXIMUM_TERMINATION_MESSAGE_BYTES = 4096
TERMINATION_MESSAGE_PATH = "/dev/termination-log"
FIGURES = ("epoch", "loss", "eval_loss", "learning_rate", "gradient_norm")
"""What a report and the record of an attempt say of their step."""
VOLUME_FULL = "VolumeFull"


class Result(ContractModel):
    """Where the result lies, relative to `mounts.output`."""

    path: str
    adapter: bool
    bytes: int
    digest: str | None = None
    """128-bit xxh3 of names and contents of the files that are learnt from: not the report, not the model card."""


class AttemptRecord(ContractModel):
    """The termination message of an attempt; at most 4,096 bytes, see encode for what is cut first."""

    contract_version: int = CONTRACT_VERSION
    uid: str
    attempt: int
    run: int | None = None
    kind: EndKind
    cause: str | None = None
    """A closer word for the kind, where there is one: VolumeFull, of an internal error."""
    already_complete: bool = False
    step: int | None = None
    from_step: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    """Of that step, as are the other figures."""
    eval_loss: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    message: str = ""
    advice: str = ""
    rank: int | None = None
    """The rank that failed first, on whichever node."""
    exit_code: int | None = None
    signal: str | None = None
    node: int | None = None
    """Index of the node of that rank."""
    ended_at: str | None = None
    """When that rank ended: RFC 3339, UTC, milliseconds."""
    collateral: bool = False
    """No rank of the node that writes this was at fault: they were ended with the gang."""
    checkpoint: CheckpointState = CheckpointState()
    effective: Effective = Effective()
    metrics: dict[str, float | None] = Field(default_factory=dict)
    output: Result | None = None
    warnings: list[str] = Field(default_factory=list)

    def encode(self, limit: int = MAXIMUM_TERMINATION_MESSAGE_BYTES) -> str:
        """JSON of at most `limit` bytes. Cut in this order: warnings, because, metrics, then message and advice by
        halves, and at last everything but identity, kind and steps."""
        record = self
        cuts: tuple[dict[str, Any], ...] = (
            {"warnings": []},
            {"effective": self.effective.model_copy(update={"because": []})},
            {"metrics": {}},
        )
        for fields in cuts:
            if record._size() <= limit:
                return record._text()
            record = record.model_copy(update=fields)
        while record._size() > limit and (len(record.message) > 80 or len(record.advice) > 80):
            record = record.model_copy(update={"message": _halved(record.message), "advice": _halved(record.advice)})
        if record._size() > limit:
            record = AttemptRecord(
                uid=self.uid,
                attempt=self.attempt,
                run=self.run,
                kind=self.kind,
                cause=self.cause,
                step=self.step,
                from_step=self.from_step,
                rank=self.rank,
                exit_code=self.exit_code,
                signal=self.signal,
                node=self.node,
                ended_at=self.ended_at,
                collateral=self.collateral,
            )
        return record._text()

    def _text(self) -> str:
        return json.dumps(self.dump(), separators=(",", ":"), ensure_ascii=False)

    def _size(self) -> int:
        return len(self._text().encode())


def _halved(text: str) -> str:
    return text if len(text) <= 80 else text[: len(text) // 2].rstrip() + " …"
