"""Many rules as a single one, which the API server judges only where what they are about was changed.

It evaluates every rule at every write of the status too, and each access to a field copies the schemas of all fields
beside it: one comparison with what was there before is much cheaper than all the rules, and what many of them read is
read once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .changes import NEW, OLD, ChangeRule
from .rule import Rule
from .spelling import literal
from .terms import Value

_WITH_DEFAULT = re.compile(r"\((?:\(has\([^()]*\)(?: && has\([^()]*\))*\)|has\([^()]*\)) \? [\w.]+ : [^()?:]*\)")
"""What Value gives for a field that has a default: nothing in it depends on where it stands."""
_OFTEN = 3


@dataclass(frozen=True)
class Part:
    """A condition in CEL, and what to say where it does not hold."""

    cel: str
    message: str


def of_rule(rule: Rule, root: str = "self") -> Part:
    """A rule on the variable `root`, with a message that names the field."""
    field = rule.field.removeprefix("spec.")
    named = rule.message if field in rule.message else f"{field}: {rule.message}"
    return Part(rule.cel(root), named)


def joint(parts: Iterable[Part]) -> dict[str, Any]:
    """Rules on the state of a part of the object; judged when it is written first, and when it was changed."""
    return {"optionalOldSelf": True, **_joint(list(parts), "oldSelf.hasValue() && self == oldSelf.value()")}


def joint_of_spec(parts: Iterable[Part]) -> dict[str, Any]:
    """Rules on the state of the spec, on the whole object; judged as those of `joint`."""
    old = "oldSelf.value()"
    untouched = f"{_of_status('self', old)} || {NEW} == {old}.spec"
    return {"optionalOldSelf": True, **_joint(list(parts), f"oldSelf.hasValue() && ({untouched})")}


def joint_changes(rules: Iterable[ChangeRule]) -> dict[str, Any]:
    """Rules on changes. They cannot stand with the others: in a messageExpression the API server does not give the old
    state of a rule with optionalOldSelf as an optional.
    """
    parts = [Part(rule.cel, rule.message) for rule in rules]
    return _joint(parts, f"{_of_status('self', 'oldSelf')} || {NEW} == {OLD}")


def _of_status(new: str, old: str) -> str:
    """CEL for: the status is written. A write has either the spec or the status of what it is sent, never both, so that
    another phase tells it, and a comparison of whole specs is spared at most of the operator's writes.
    """
    phase = Value("status.phase", default="")
    return f"{phase.cel(new)} != {phase.cel(old)}"


def _joint(parts: list[Part], unchanged: str) -> dict[str, Any]:
    """One rule, whose answer has the messages of all conditions that do not hold, as sentences."""
    said = " + ".join(f"(({part.cel}) ? '' : {literal(f'{part.message}. ')})" for part in parts)
    return {
        "rule": f"{unchanged} || {_read_once(' && '.join(f'({part.cel})' for part in parts))}",
        "message": "what is written here does not fit together",
        "messageExpression": f"({said}).trim()",
    }


def _read_once(condition: str) -> str:
    """The condition with fields that it asks for often as variables. CEL has none but those of its loops."""
    condition = f"({condition})"
    for number, (value, times) in enumerate(Counter(_WITH_DEFAULT.findall(condition)).most_common()):
        if times >= _OFTEN:
            name = f"read{number}"
            condition = f"[{value}].all({name}, {condition.replace(value, name)})"
    return condition
