"""The OpenAPI schema of the resource, from the models: structural, without references, defaults or nullable fields."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel

from .docstrings import field_texts
from .job import FineTuneJob
from .rules.catalogue import all_change_rules, rules_of
from .rules.changes import NEW
from .rules.joint import joint, joint_changes, joint_of_spec, of_rule
from .rules.rule import Rule
from .spec import FineTuneJobSpec

Schema = dict[str, Any]

KEPT = ("type", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")

WORTH_JOINING = 3
"""So many rules of a level are given as one. Not below lists: the API server knows no old state of their items."""


def openapi_schema() -> Schema:
    """The schema of the whole object, rules included."""
    source = FineTuneJob.model_json_schema(by_alias=True)
    schema = _object(FineTuneJob, source, source["$defs"])
    schema["properties"]["apiVersion"] = {"type": "string", "description": "Always finetune.dev/v1alpha1."}
    schema["properties"]["kind"] = {"type": "string", "description": "Always FineTuneJob."}
    schema["properties"]["metadata"] = {"type": "object"}
    schema["required"] = ["metadata", "spec"]
    return schema


def _object(model: type[BaseModel], source: Schema, definitions: Schema, in_list: bool = False) -> Schema:
    """The schema of a model with its rules."""
    schema: Schema = {"type": "object", "description": _text(source.get("description", ""))}
    texts = field_texts(model)
    schema["properties"] = {
        name: _field(inner, definitions, texts.get(name, ""), in_list)
        for name, inner in sorted(source.get("properties", {}).items())
    }
    if source.get("required"):
        schema["required"] = sorted(source["required"])
    rules = _rules(model, in_list)
    if rules:
        schema["x-kubernetes-validations"] = rules
    return schema


def _rules(model: type[BaseModel], in_list: bool) -> list[Schema]:
    """The rules of a level. Those of the spec stand at the root: one comparison serves them and what is there."""
    rules = rules_of(model)
    if model is FineTuneJobSpec:
        return []
    if model is FineTuneJob:
        of_name = [rule for rule in rules if _is_of_metadata(rule)]
        parts = [of_rule(rule) for rule in rules if rule not in of_name]
        parts += [of_rule(rule, NEW) for rule in rules_of(FineTuneJobSpec)]
        of_spec = [joint_of_spec(parts), joint_changes(all_change_rules())]
        return [*map(_validation, of_name), *({**rule, "fieldPath": ".spec"} for rule in of_spec)]
    if in_list or len(rules) < WORTH_JOINING:
        return [_validation(rule) for rule in rules]
    return [joint(map(of_rule, rules))]


def _validation(rule: Rule) -> Schema:
    """A rule as the API server takes it; the field is named so that its answer says it (metadata cannot be)."""
    named = {"fieldPath": f".{rule.field}"} if rule.field and not _is_of_metadata(rule) else {}
    return {"rule": rule.cel(), "message": rule.message, **named}


def _is_of_metadata(rule: Rule) -> bool:
    return rule.field.startswith("metadata.")


def _field(source: Schema, definitions: Schema, text: str = "", in_list: bool = False) -> Schema:
    """The schema of one field: what a reference or an optional means, with its own text if it has one."""
    meant = _meant(source)
    if "$ref" in meant:
        name = meant["$ref"].rsplit("/", 1)[1]
        schema = _object(_models()[name], definitions[name], definitions, in_list)
    else:
        schema = _plain(meant, definitions, in_list)
    description = text or source.get("description") or meant.get("description")
    if description:
        schema["description"] = _text(description)
    return schema


def _meant(source: Schema) -> Schema:
    """The one alternative that is not null."""
    choices: list[Schema] = [choice for choice in source.get("anyOf", ()) if choice.get("type") != "null"]
    if not choices:
        return source
    (meant,) = choices
    return meant


def _plain(source: Schema, definitions: Schema, in_list: bool) -> Schema:
    schema = {name: source[name] for name in KEPT if name in source}
    schema.update(_bounds(source))
    if "const" in source:
        schema["enum"] = [source["const"]]
    if schema.get("type") == "integer":
        schema["format"] = "int64"
    if "items" in source:
        schema["items"] = _field(source["items"], definitions, in_list=True)
    if isinstance(source.get("additionalProperties"), dict):
        schema["additionalProperties"] = _field(source["additionalProperties"], definitions, in_list=in_list)
    schema.update({name: value for name, value in source.items() if name.startswith("x-kubernetes-")})
    return schema


def _bounds(source: Schema) -> Schema:
    """OpenAPI 3.0 says exclusive bounds with a flag."""
    bounds: Schema = {}
    for kind in ("minimum", "maximum"):
        exclusive = f"exclusive{kind.capitalize()}"
        if exclusive in source:
            bounds[kind], bounds[exclusive] = source[exclusive], True
        elif kind in source:
            bounds[kind] = source[kind]
    return bounds


@cache
def _models() -> dict[str, type[BaseModel]]:
    """Our models by name, which a definition of the JSON schema carries."""
    own = __name__.rsplit(".", 1)[0]
    return {model.__name__: model for model in _descendants(BaseModel) if model.__module__.startswith(own)}


def _descendants(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for child in model.__subclasses__():
        yield child
        yield from _descendants(child)


def _text(description: str) -> str:
    """A docstring as one paragraph."""
    return " ".join(description.split())
