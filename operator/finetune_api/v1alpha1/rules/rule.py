"""A rule: a condition that must hold, and what to say where it does not. The usual shapes of rules are made here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .conditions import Condition, Count, Has
from .terms import Term, Value


@dataclass(frozen=True)
class Rule:
    """A condition on an object of the resource, for the CRD as CEL and for the models as Python."""

    condition: Condition
    message: str
    field: str = ""
    """The path, from the object that the rule stands on, of the field that the message is about."""

    def cel(self, root: str = "self") -> str:
        """The rule for x-kubernetes-validations, on the variable `root`."""
        text = self.condition.cel(root)
        return text[1:-1] if _is_wrapped(text) else text

    def broken_by(self, value: Mapping[str, Any]) -> bool:
        """Whether a plain object breaks it. Raises Unfit where its types do not fit."""
        return not self.condition.holds(value)


def exactly_one_of(*fields: str) -> Rule:
    """One of some fields, no more and no less."""
    return Rule(Count(fields, "==", 1), f"write exactly one of {_listed(fields)}")


def at_most_one_of(*fields: str) -> Rule:
    """One of some fields or none: they contradict each other."""
    return Rule(Count(fields, "<=", 1), f"{_listed(fields)} exclude each other: write only one of them")


def goes_with(field: str, term: Term, choices: Iterable[Any], *, what: str) -> Rule:
    """A field that has an effect only where another one has one of some values."""
    allowed = tuple(choices)
    condition = term.equals(allowed[0]) if len(allowed) == 1 else term.one_of(*allowed)
    return Rule(
        Has(field).implies(condition),
        f"{field} has no effect here: it goes with {what} {_listed(allowed, 'or')}; leave it out or change {what}",
        field,
    )


def needs(field: str, value: str, *wanted: str) -> Rule:
    """Fields that must be written where another has a value."""
    present: Condition = Has(wanted[0])
    for name in wanted[1:]:
        present = present & Has(name)
    return Rule(
        Value(field).equals(value).implies(present), f"{field} {value} needs {_listed(wanted)}: write {_it(wanted)}"
    )


def _listed(names: Iterable[Any], word: str = "and") -> str:
    *first, last = [str(name) for name in names]
    return f"{', '.join(first)} {word} {last}" if first else last


def _it(names: tuple[str, ...]) -> str:
    return "it" if len(names) == 1 else "them"


def _is_wrapped(text: str) -> bool:
    """Whether the first bracket is closed by the last one."""
    if not text.startswith("("):
        return False
    depth = 0
    for at, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return at == len(text) - 1
    return False
