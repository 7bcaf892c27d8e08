"""Brings the conversations of OpenAI chat and ShareGPT files into one form. Knows no templates."""

from __future__ import annotations

import json
from typing import Any

from ..errors import DataError
from .readers import type_in_words
from .rows import Message, Row

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
}
_KEPT = ("tool_calls", "tool_call_id", "name", "reasoning_content")


def conversation(value: Any, column: str, row: Row, system: str | None) -> tuple[Message, ...]:
    """The messages of a row; `system` is put first where the conversation has no system message of its own.

    Raises DataError where a message has no role that is known, no text, or nobody answers.
    """
    if not isinstance(value, list) or not value:
        found = "an empty list" if isinstance(value, list) else type_in_words(value)
        raise _error(row, f"{column} is {found}, not a list of messages", 'Write [{"role": "user", "content": "..."}].')
    messages = [_message(entry, f"{column}[{index}]", row) for index, entry in enumerate(value)]
    if not any(message["role"] == "assistant" for message in messages):
        raise _error(row, f"{column} has no assistant message", "There is nothing to learn from; add the answer.")
    if system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    return tuple(messages)


def _message(entry: Any, place: str, row: Row) -> Message:
    if not isinstance(entry, dict):
        raise _error(row, f"{place} is {type_in_words(entry)}, not a message", "Write an object with role and content.")
    named = entry.get("role", entry.get("from"))
    if named is None:
        raise _error(row, f"{place} has no role; it has {', '.join(entry)}", "Write role (or from) in every message.")
    role = ROLES.get(str(named).lower())
    if role is None:
        raise _error(row, f"{place} has the role {named!r}", f"Roles are {', '.join(ROLES)}.")
    message: Message = {"role": role, "content": _content(entry, place, row)}
    message.update({key: entry[key] for key in _KEPT if entry.get(key) is not None})
    if "tool_calls" in message:
        message["tool_calls"] = _calls(message["tool_calls"], place, row)
    return message


def _content(entry: dict[str, Any], place: str, row: Row) -> str:
    content = entry.get("content", entry.get("value"))
    if isinstance(content, str):
        return content
    if content is None and entry.get("tool_calls"):
        return ""
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return "".join(str(part.get("text", "")) for part in content)
    if isinstance(content, list):
        raise _error(row, f"{place} has content other than text", "Images and sound cannot be learnt; leave them out.")
    if content is None:
        found = ", ".join(entry)
        raise _error(row, f"{place} has no content; it has {found}", "Write content (or value) in every message.")
    raise _error(row, f"the content of {place} is {type_in_words(content)}, not a string", "Write the text in quotes.")


def _calls(calls: Any, place: str, row: Row) -> list[dict[str, Any]]:
    """Tool calls with their arguments as objects: chat templates expect that, the OpenAI format has JSON text."""
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise _error(row, f"tool_calls of {place} is no list of calls", "Write it as the OpenAI chat format does.")
    mended = []
    for call in calls:
        function = call.get("function")
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            try:
                arguments = json.loads(function["arguments"])
            except json.JSONDecodeError as error:
                raise _error(row, f"the arguments of a tool call in {place} are not JSON", "Mend them.") from error
            call = {**call, "function": {**function, "arguments": arguments}}
        mended.append(call)
    return mended


def _error(row: Row, problem: str, advice: str) -> DataError:
    return DataError(f"row {row.origin.row}: {problem}.", advice, file=row.origin.file, line=row.origin.line)
