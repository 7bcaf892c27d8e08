"""Many rules as a single one, which the API server judges only where what they are about was changed.

It evaluates every rule at every write of the status too, and each access to a field copies the schemas of all fields
beside it: one comparison with what was there before is much cheaper than all the rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .changes import NEW, OLD, ChangeRule
from .rule import Rule
from .spelling import literal


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


def joint(parts: Iterable[Part], *, at: str = "self") -> dict[str, Any]:
    """Rules on a state; they are judged when it is written first, and when anything at or below `at` was changed."""
    old = at.replace("self", "oldSelf.value()", 1)
    return {"optionalOldSelf": True, **_joint(list(parts), f"oldSelf.hasValue() && {at} == {old}")}


def joint_changes(rules: Iterable[ChangeRule]) -> dict[str, Any]:
    """Rules on changes. They cannot stand with the others: in a messageExpression the API server does not give the old
    state of a rule with optionalOldSelf as an optional.
    """
    return _joint([Part(rule.cel, rule.message) for rule in rules], f"{NEW} == {OLD}")


def _joint(parts: list[Part], unchanged: str) -> dict[str, Any]:
    """One rule, whose answer has the messages of all conditions that do not hold, as sentences."""
    said = " + ".join(f"(({part.cel}) ? '' : {literal(f'{part.message}. ')})" for part in parts)
    return {
        "rule": f"{unchanged} || ({' && '.join(f'({part.cel})' for part in parts)})",
        "message": "what is written here does not fit together",
        "messageExpression": f"({said}).trim()",
    }
