"""Holds a document against the rules across fields, part by part. Types and bounds are judged in structure.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel

from .job import FineTuneJob
from .problems import Problem
from .rules.catalogue import all_change_rules, rules_of
from .rules.changes import broken_changes
from .rules.rule import Rule
from .rules.spelling import Unfit


def rule_problems(document: Mapping[str, Any], known: Sequence[Problem]) -> list[Problem]:
    """The rules that a document breaks, apart from those that read a field in which something is wrong already."""
    wrong = [problem.field for problem in known]
    return [
        Problem(_join(at, rule.field), rule.message)
        for at, rule in broken_rules(document)
        if not any(_touches(_join(at, path), field) for path in rule.condition.fields() for field in wrong)
    ]


def broken_rules(document: Mapping[str, Any]) -> Iterator[tuple[str, Rule]]:
    """Every rule that a document breaks, with the place of the object that the rule stands on."""
    for model, value, at in _parts(FineTuneJob, document, ""):
        for rule in rules_of(model):
            if _is_broken(rule, value):
                yield at, rule


def change_problems(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Problem]:
    """What a change from one document to another does that is not allowed; the phase is that of the old one."""
    return [Problem(f"spec.{rule.field}", rule.message) for rule in broken_changes(old, new, all_change_rules())]


def _is_broken(rule: Rule, value: Mapping[str, Any]) -> bool:
    try:
        return rule.broken_by(value)
    except Unfit:  # what it reads is not there or of another type, which is a problem of its own
        return False


def _parts(model: type[BaseModel], value: Any, at: str) -> Iterator[tuple[type[BaseModel], Mapping[str, Any], str]]:
    """Every object of a document that a model describes, with its place."""
    if not isinstance(value, Mapping):
        return
    yield model, value, at
    for name, part in nested_models(model).items():
        inner = value.get(name)
        items = enumerate(inner) if isinstance(inner, list) else ((None, inner),)
        for index, item in items:
            yield from _parts(part, item, _join(at, name) + ("" if index is None else f"[{index}]"))


@cache
def nested_models(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The fields of a model (by their names in YAML) that hold models or lists of them."""
    found = {field.alias or name: _model_in(field.annotation) for name, field in model.model_fields.items()}
    return {name: part for name, part in found.items() if part is not None}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((part for inner in get_args(annotation) if (part := _model_in(inner)) is not None), None)


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at and name else at or name


def _touches(one: str, other: str) -> bool:
    """Whether two places are the same or one is inside the other."""
    return one == other or one.startswith((f"{other}.", f"{other}[")) or other.startswith((f"{one}.", f"{one}["))
