"""What passes between the parts of data preparation: rows as read, examples as understood. No behaviour of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["Text", "PromptCompletion", "Conversation"]
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row comes from, in the words of the person who wrote the job."""

    file: str
    """`<claim or ConfigMap>/<path>`, or the hub id."""
    row: int
    """Counts from 1 in its file."""
    line: int | None = None
    """The line at which the row begins, counted from 1; None where the file has no lines (Parquet, hub)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file, by the file's own column names."""

    values: dict[str, Any]
    origin: Origin
    continues: bool = False
    """The next row is the next piece of the same document."""


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to learn from. Which fields are set follows from `kind`."""

    kind: Kind
    origin: Origin
    text: str = ""
    """Text: the document."""
    prompt: str = ""
    completion: str = ""
    """PromptCompletion: taken as they stand, one directly after the other."""
    messages: tuple[Message, ...] = ()
    """Conversation: roles system, user, assistant and tool."""
    tools: tuple[dict[str, Any], ...] = ()
    prompted: bool = False
    """Conversation made of an instruction and its answer: by default only the answer is learnt."""
    group: str | None = None
    continues: bool = False

    @property
    def texts(self) -> list[str]:
        """All the words of the example, in order."""
        if self.kind == "Conversation":
            return [str(message.get("content") or "") for message in self.messages]
        return [part for part in (self.prompt, self.completion, self.text) if part]
