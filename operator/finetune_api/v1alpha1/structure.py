"""What pydantic finds in a document, as problems: field, what is wrong, what to write. Knows no cross-field rule."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .job import FineTuneJob
from .problems import Problem


def structural_problems(document: Mapping[str, Any]) -> list[Problem]:
    """Unknown fields, wrong types, missing fields, values out of bounds."""
    try:
        FineTuneJob.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        return [
            Problem(field_name(detail["loc"]), _message(detail))
            for detail in error.errors(include_url=False, include_context=True)
        ]
    return []


def field_name(location: Iterable[int | str]) -> str:
    """`('spec', 'dataset', 'sources', 0)` as `spec.dataset.sources[0]`."""
    name = ""
    for part in location:
        if part == "[key]":
            continue
        name += f"[{part}]" if isinstance(part, int) else f".{part}"
    return name.removeprefix(".")


def _message(detail: ErrorDetails) -> str:
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "missing":
        return "is missing: write it"
    if kind == "extra_forbidden":
        return _unknown(detail["loc"])
    if kind == "literal_error":
        return _not_one_of(given, str(context["expected"]))
    if kind.endswith(("_type", "_parsing")):
        return _wrong_type(kind, given)
    if kind == "value_error":
        return str(context["error"])
    said = detail["msg"].removeprefix("Input ").removeprefix("Value ").removeprefix("String ")
    return f"{_shown(given)}: {said}"


def _unknown(location: tuple[int | str, ...]) -> str:
    names = sorted(_fields_at(location[:-1]))
    close = difflib.get_close_matches(str(location[-1]), names, n=1)
    if close:
        return f"there is no such field: write {close[0]}"
    return f"there is no such field here; there are {', '.join(names)}" if names else "there is no such field"


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names (in YAML) of the fields of the object at a location of the document."""
    schema = _schema()
    node = schema
    for part in location:
        node = _inlined(node, schema)
        node = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part, {})
    return list(_inlined(node, schema).get("properties", {}))


@cache
def _schema() -> dict[str, Any]:
    return FineTuneJob.model_json_schema(by_alias=True)


def _inlined(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The node that is meant: behind a $ref, and without the alternative of being absent."""
    for choice in node.get("anyOf", ()):
        if choice.get("type") != "null":
            return _inlined(choice, schema)
    if "$ref" in node:
        return _inlined(schema["$defs"][node["$ref"].rsplit("/", 1)[1]], schema)
    return node


def _not_one_of(given: Any, expected: str) -> str:
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    if len(choices) == 1:
        return f"{_shown(given)} is not known: write {choices[0]}"
    lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(str(given).lower(), lower, n=1)
    hint = f"write {lower[close[0]]}" if close else f"write one of {', '.join(choices)}"
    return f"{_shown(given)} is not known: {hint}" + (f" (of {', '.join(choices)})" if close else "")


def _wrong_type(kind: str, given: Any) -> str:
    if kind.startswith("string"):
        quoted = f': put it in quotes, "{given}"' if isinstance(given, int | float) else ""
        return f"must be a string, not {_shown(given)}{quoted}"
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list"}
    wanted = words.get(kind.split("_")[0], "an object with fields")
    return f"must be {wanted}, not {_shown(given)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + '..."'
