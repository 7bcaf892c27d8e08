"""Hypothesis strategies for FineTuneJob documents, made from the models: valid, arbitrary and broken ones."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

from finetune_api.v1alpha1.judgement import broken_rules, nested_models
from finetune_api.v1alpha1.rules.catalogue import rules_of
from finetune_api.v1alpha1.rules.conditions import Count
from finetune_api.v1alpha1.schema import openapi_schema
from finetune_api.v1alpha1.spec import FineTuneJobSpec
from finetune_api.v1alpha1.validation import validate

Document = dict[str, Any]
Schema = dict[str, Any]

SPEC_SCHEMA: Schema = openapi_schema()["properties"]["spec"]
MOST_OPTIONAL_FIELDS = 4
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\x00")


def a_document(spec: Document) -> Document:
    """A job of a fixed name around a spec."""
    return {
        "apiVersion": "finetune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": "generated"},
        "spec": spec,
    }


@cache
def arbitrary_jobs() -> st.SearchStrategy[Document]:
    """Documents whose fields are right one by one, and that may break rules across fields."""
    return _object(FineTuneJobSpec, SPEC_SCHEMA).map(a_document)


@cache
def valid_jobs() -> st.SearchStrategy[Document]:
    """Documents that break no rule: what contradicts is taken out again."""
    return arbitrary_jobs().map(_without_contradictions).filter(lambda document: not validate(document))


def _object(model: type[BaseModel], schema: Schema) -> st.SearchStrategy[Document]:
    properties, required = schema["properties"], schema.get("required", [])
    alternatives = [rule.condition.paths for rule in rules_of(model) if _is_choice(rule.condition)]
    fields = {name: _field(model, name, inner) for name, inner in properties.items()}
    chosen = [st.sampled_from(names) for names in alternatives]
    free = sorted(set(properties) - set(required) - {name for names in alternatives for name in names})

    @st.composite
    def build(draw: st.DrawFn) -> Document:
        optional = draw(st.lists(st.sampled_from(free), unique=True, max_size=MOST_OPTIONAL_FIELDS)) if free else []
        names = [*required, *(draw(choice) for choice in chosen), *optional]
        return {name: draw(fields[name]) for name in names}

    return build()


def _is_choice(condition: Any) -> bool:
    return isinstance(condition, Count) and condition.compare == "==" and condition.number == 1


def _field(model: type[BaseModel], name: str, schema: Schema) -> st.SearchStrategy[Any]:
    part = nested_models(model).get(name)
    if schema["type"] == "array":
        items = _object(part, schema["items"]) if part else _scalar(schema["items"])
        return st.lists(items, min_size=schema.get("minItems", 0), max_size=min(schema["maxItems"], 2))
    if part:
        return _object(part, schema)
    if "additionalProperties" in schema:
        names = st.sampled_from(["team", "example.com/pool", "a", "rdma/hca"])
        return st.dictionaries(names, _scalar(schema["additionalProperties"]), min_size=1, max_size=2)
    return _scalar(schema)


def _scalar(schema: Schema) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema["type"] == "boolean":
        return st.booleans()
    if schema["type"] == "integer":
        return st.integers(schema["minimum"], schema["maximum"])
    if schema["type"] == "number":
        return _number(schema)
    return _text(schema)


def _number(schema: Schema) -> st.SearchStrategy[float]:
    low, high = schema.get("minimum"), schema.get("maximum")
    return st.floats(
        low,
        1e9 if high is None else high,
        exclude_min=schema.get("exclusiveMinimum", False),
        exclude_max=schema.get("exclusiveMaximum", False),
    )


def _text(schema: Schema) -> st.SearchStrategy[str]:
    shortest, longest = schema.get("minLength", 0), schema["maxLength"]
    if "pattern" not in schema:
        return st.text(CHARACTERS, min_size=shortest, max_size=min(longest, 12))
    return st.from_regex(schema["pattern"], fullmatch=True, alphabet=CHARACTERS).filter(
        lambda text: shortest <= len(text) <= min(longest, 60)
    )


def _without_contradictions(document: Document) -> Document:
    """Takes out fields until no rule is broken any more (or nothing can be taken out)."""
    mended = copy.deepcopy(document)
    for _ in range(60):
        broken = next(iter(broken_rules(mended)), None)
        if broken is None:
            return mended
        at, rule = broken
        candidates = [*(f"{at}.{path}" for path in sorted(rule.condition.fields())), at]
        if not any(_take_out(mended, path) for path in candidates):
            return mended
    return mended


def _take_out(document: Document, path: str) -> bool:
    """Removes the field at a path, or what is around it where it is required. False where nothing could go."""
    steps = list(_steps(path))
    holder: Any = document
    schema: Schema = {"properties": {"spec": SPEC_SCHEMA}, "required": ["spec"]}
    optional: tuple[Any, Any] | None = None
    for step in steps:
        if isinstance(step, int):
            schema, holder = schema["items"], holder[step]
            continue
        if not isinstance(holder, dict) or step not in holder:
            return False
        if step not in schema.get("required", []):
            optional = (holder, step)
        schema, holder = schema["properties"][step], holder[step]
    if optional is None:
        return False
    del optional[0][optional[1]]
    return True


def _steps(path: str) -> Iterator[str | int]:
    for part in path.replace("[", ".[").split("."):
        yield int(part[1:-1]) if part.startswith("[") else part


@st.composite
def broken_jobs(draw: st.DrawFn) -> tuple[str, Document]:
    """A valid document with one thing done to it that makes it wrong, and what that was."""
    document = copy.deepcopy(draw(valid_jobs()))
    places = list(_places(document["spec"], SPEC_SCHEMA, "spec"))
    breakages = {
        "unknown field": [place for place in places if "properties" in place[3]],
        "wrong type": places,
        "null item": [place for place in places if place[3]["type"] == "array"],
        "missing field": [place for place in places if place[1] in place[2].get("required", [])],
        "out of bounds": [place for place in places if _beyond(place[3])],
    }
    kind = draw(st.sampled_from(sorted(name for name, found in breakages.items() if found)))
    holder, name, _, schema = draw(st.sampled_from(breakages[kind]))
    if kind == "unknown field":
        holder[name]["noSuchField"] = draw(st.sampled_from([1, "x", True, {}, []]))
    elif kind == "wrong type":
        holder[name] = draw(st.sampled_from(_other_types(schema)))
    elif kind == "null item":
        holder[name] = [*holder[name], None]
    elif kind == "missing field":
        holder[name] = None  # for both sides the same as leaving it out
    else:
        holder[name] = draw(st.sampled_from(_beyond(schema)))
    return f"{kind}: {name}", document


def _places(value: Document, schema: Schema, name: str) -> Iterator[tuple[Any, Any, Schema, Schema]]:
    """Every field below an object: holder, name, schema of the holder, schema of the field."""
    for field, inner in list(value.items()):
        field_schema = schema["properties"][field]
        yield value, field, schema, field_schema
        if "properties" in field_schema:
            yield from _places(inner, field_schema, field)
        elif field_schema.get("items", {}).get("properties"):
            for item in inner:
                yield from _places(item, field_schema["items"], field)


def _other_types(schema: Schema) -> list[Any]:
    samples: dict[str, Any] = {"string": "text", "integer": 1.5, "boolean": True, "array": ["x"], "object": {"x": 1}}
    mine = schema["type"]
    return [sample for kind, sample in samples.items() if kind != mine and not (mine == "number" and kind == "integer")]


def _beyond(schema: Schema) -> list[Any]:
    found: list[Any] = []
    if "enum" in schema:
        found.append(f"{schema['enum'][0]}x")
    if schema["type"] == "integer":
        found += [schema["minimum"] - 1, schema["maximum"] + 1]
    if schema["type"] == "number" and "maximum" in schema:
        found += [schema["maximum"] + 1.5, schema["minimum"] - 1.5]
    if schema["type"] == "string" and "maxLength" in schema:
        found.append("a" * (schema["maxLength"] + 1))
    if schema["type"] == "string" and schema.get("minLength"):
        found.append("")
    if schema["type"] == "array" and schema.get("minItems"):
        found.append([])
    return found
