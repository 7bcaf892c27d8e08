"""Understands rows: which format they have and what they say as examples. Reads no files, counts no tokens.

| format | fields (other names that are taken for them) |
|---|---|
| Text | text (content) |
| Instruction | instruction (question, prompt), output (response, answer, completion), input (context), system |
| PromptCompletion | prompt (question), completion (response, answer) |
| Conversational | messages (conversations, conversation), tools, system |

input, system and tools may be left out. Instruction becomes a user turn and an assistant turn through the chat
template. PromptCompletion is taken as it stands, nothing in between, unless the job has a chat template or a system
message of its own; lists of messages in both fields make a conversation. Auto takes question/answer and the like for
Instruction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, DataError
from .conversations import conversation
from .readers import type_in_words
from .rows import Example, Row

FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "Text": {"text": ("text", "content")},
    "Instruction": {
        "instruction": ("instruction", "question", "prompt"),
        "output": ("output", "response", "answer", "completion"),
        "input": ("input", "context"),
        "system": ("system",),
    },
    "PromptCompletion": {"prompt": ("prompt", "question"), "completion": ("completion", "response", "answer")},
    "Conversational": {
        "messages": ("messages", "conversations", "conversation"),
        "tools": ("tools",),
        "system": ("system",),
    },
}
OPTIONAL = {"input", "system", "tools"}


@dataclass(frozen=True, slots=True)
class Shape:
    """How the rows of one source are read."""

    format: str
    columns: Mapping[str, str]
    """Field of the format to column of the file."""
    system_message: str | None = None
    templated_pairs: bool = False
    """Prompt and completion go through the chat template."""
    group_by: str | None = None


def detect(row: Row, renames: Mapping[str, str], prefer_text: bool = False) -> str:
    """The format of a row by its columns. Raises DataError where none or more than one fits.

    prefer_text: a text column settles it (continued pre-training).
    """
    names = {*row.values, *renames}
    fitting = [name for name in FIELDS if _fits(name, names)]
    if prefer_text and "Text" in fitting:
        return "Text"
    # A pair called prompt and completion is the one that is taken as it stands.
    if {"Instruction", "PromptCompletion"} <= set(fitting):
        fitting.remove("Instruction" if {"prompt", "completion"} <= names else "PromptCompletion")
    if len(fitting) == 1:
        return fitting[0]
    columns = ", ".join(row.values)
    if fitting:
        problem = f"the columns ({columns}) fit {' and '.join(fitting)}."
        advice = f"Set dataset.format to {' or '.join(fitting)}."
    else:
        problem = f"the columns ({columns}) fit no format."
        advice = (
            "Set dataset.format, and dataset.columns where a column has another name: "
            "for example columns: {prompt: myPrompt, completion: myAnswer}."
        )
    raise _wrong(row, problem, advice)


def shape_of(row: Row, format_name: str, renames: Mapping[str, str], **settings: Any) -> Shape:
    """Settles which column holds each field, from the first row of a source. Raises ConfigError and DataError."""
    fields = FIELDS[format_name]
    for field, column in renames.items():
        if field not in fields:
            raise ConfigError(
                f"dataset.columns names {field}, which is no field of {format_name}.",
                f"The fields of {format_name} are {', '.join(fields)}.",
            )
        if column not in row.values:
            raise _missing(column, row, f"dataset.columns takes {field} from it.")
    columns: dict[str, str] = {}
    for field, names in fields.items():
        found = renames.get(field) or next((name for name in names if name in row.values), None)
        if found is not None:
            columns[field] = found
        elif field not in OPTIONAL:
            raise _missing(field, row, f"{format_name} needs it; name the column in dataset.columns.")
    return Shape(format_name, columns, **settings)


def example_of(row: Row, shape: Shape) -> Example | None:
    """What a row says, or None where there is nothing to learn in it (an empty text). Raises DataError."""
    group = _group(row, shape)
    if shape.format == "Text":
        text = _string(row, shape, "text")
        return Example("Text", row.origin, text=text, group=group, continues=row.continues) if text.strip() else None
    if shape.format == "Conversational":
        column = _column(row, shape, "messages")
        messages = conversation(row.values[column], column, row, _system(row, shape))
        return Example("Conversation", row.origin, messages=messages, tools=_tools(row, shape), group=group)
    if shape.format == "Instruction":
        asked, answer = _string(row, shape, "instruction"), _string(row, shape, "output")
        more = _string(row, shape, "input", optional=True)
        return _pair(row, f"{asked}\n\n{more}" if more.strip() else asked, answer, _system(row, shape), group)
    prompt, completion = (row.values[_column(row, shape, field)] for field in ("prompt", "completion"))
    if isinstance(prompt, list) and isinstance(completion, list):
        messages = conversation([*prompt, *completion], "prompt + completion", row, shape.system_message)
        return Example("Conversation", row.origin, messages=messages, prompted=True, group=group)
    prompt, completion = _string(row, shape, "prompt"), _string(row, shape, "completion")
    if shape.templated_pairs:
        return _pair(row, prompt, completion, shape.system_message, group)
    if not completion.strip():
        return None
    return Example("PromptCompletion", row.origin, prompt=prompt, completion=completion, group=group)


def _fits(format_name: str, names: set[str]) -> bool:
    return all(names & {field, *others} for field, others in FIELDS[format_name].items() if field not in OPTIONAL)


def _pair(row: Row, asked: str, answer: str, system: str | None, group: str | None) -> Example | None:
    if not answer.strip():
        return None
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return Example("Conversation", row.origin, messages=tuple(messages), prompted=True, group=group)


def _missing(column: str, row: Row, why: str) -> DataError:
    problem = f"row {row.origin.row} has no column {column}; it has {', '.join(row.values) or 'none'}."
    return _wrong(row, problem, why[0].upper() + why[1:])


def _wrong(row: Row, problem: str, advice: str) -> DataError:
    """What is wrong with a row, with its place."""
    return DataError(problem, advice, file=row.origin.file, line=row.origin.line)


def _column(row: Row, shape: Shape, field: str) -> str:
    column = shape.columns[field]
    if column not in row.values:
        raise _missing(column, row, f"{shape.format} needs it in every row.")
    return column


def _optional(row: Row, shape: Shape, field: str) -> str | None:
    """The column of a field that rows may lack; a row may have it though the first one has not."""
    names = (shape.columns[field],) if field in shape.columns else FIELDS[shape.format].get(field, ())
    return next((name for name in names if row.values.get(name) is not None), None)


def _string(row: Row, shape: Shape, field: str, optional: bool = False) -> str:
    column = _optional(row, shape, field) if optional else _column(row, shape, field)
    if column is None:
        return ""
    value = row.values[column]
    if isinstance(value, str):
        return value
    problem = f"{column} of row {row.origin.row} is {type_in_words(value)}, not a string."
    raise _wrong(row, problem, "Write the text in quotes, or leave the row out.")


def _system(row: Row, shape: Shape) -> str | None:
    return _string(row, shape, "system", optional=True) or shape.system_message


def _tools(row: Row, shape: Shape) -> tuple[dict[str, Any], ...]:
    value = row.values.get(_optional(row, shape, "tools") or "")
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = ""
    if value in (None, "", []):
        return ()
    if isinstance(value, list) and all(isinstance(tool, dict) for tool in value):
        return tuple(value)
    problem = f"tools of row {row.origin.row} is no list of function descriptions."
    raise _wrong(row, problem, "Write it as the OpenAI chat format does, as a list or as JSON text of one.")


def _group(row: Row, shape: Shape) -> str | None:
    if shape.group_by is None:
        return None
    if shape.group_by not in row.values:
        raise _missing(shape.group_by, row, "dataset.groupBy names it.")
    return json.dumps(row.values[shape.group_by], sort_keys=True, default=str)
