"""Terms: what a field is, and the conditions that ask about it. Whether it was written is asked in conditions.py."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .conditions import COMPARISONS, Condition, Has
from .spelling import Unfit, attribute, literal, read


class Term(ABC):
    """A value that a condition compares."""

    @abstractmethod
    def cel(self, root: str = "self") -> str:
        """The value in CEL, on the variable `root`."""

    @abstractmethod
    def of(self, value: Mapping[str, Any]) -> Any:
        """The value in a plain object. Raises Unfit where it is not there."""

    @abstractmethod
    def fields(self) -> frozenset[str]:
        """The paths that are read."""

    def one_of(self, *choices: Any) -> Condition:
        return OneOf(self, choices)

    def matches(self, pattern: str) -> Condition:
        """The text has this pattern somewhere in it (RE2; no look-around)."""
        return Matches(self, pattern)

    def equals(self, other: Any) -> Condition:
        return Compare(self, "==", _term(other))

    def __lt__(self, other: Any) -> Condition:
        return Compare(self, "<", _term(other))

    def __le__(self, other: Any) -> Condition:
        return Compare(self, "<=", _term(other))

    def __gt__(self, other: Any) -> Condition:
        return Compare(self, ">", _term(other))

    def __ge__(self, other: Any) -> Condition:
        return Compare(self, ">=", _term(other))

    def __add__(self, other: Term) -> Term:
        return Sum(self, other)


@dataclass(frozen=True)
class Constant(Term):
    value: Any

    def cel(self, root: str = "self") -> str:
        return literal(self.value)

    def of(self, value: Mapping[str, Any]) -> Any:
        return self.value

    def fields(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class Value(Term):
    """What a field is; `default` is what it is where it was not written (None: it must be there)."""

    path: str
    default: Any = None

    def cel(self, root: str = "self") -> str:
        plain = ".".join([root, *(attribute(name) for name in self.path.split("."))])
        if self.default is None:
            return plain
        return f"({Has(self.path).cel(root)} ? {plain} : {literal(self.default)})"

    def of(self, value: Mapping[str, Any]) -> Any:
        try:
            return read(value, self.path)
        except Unfit:
            if self.default is None:
                raise
            return self.default

    def fields(self) -> frozenset[str]:
        return frozenset({self.path})


@dataclass(frozen=True)
class Size(Term):
    """How many items or characters a field has."""

    path: str

    def cel(self, root: str = "self") -> str:
        return f"size({Value(self.path).cel(root)})"

    def of(self, value: Mapping[str, Any]) -> Any:
        return len(read(value, self.path))

    def fields(self) -> frozenset[str]:
        return frozenset({self.path})


@dataclass(frozen=True)
class Sum(Term):
    left: Term
    right: Term

    def cel(self, root: str = "self") -> str:
        return f"({self.left.cel(root)} + {self.right.cel(root)})"

    def of(self, value: Mapping[str, Any]) -> Any:
        return self.left.of(value) + self.right.of(value)

    def fields(self) -> frozenset[str]:
        return self.left.fields() | self.right.fields()


@dataclass(frozen=True)
class Compare(Condition):
    left: Term
    how: str
    right: Term

    def cel(self, root: str = "self") -> str:
        return f"{self.left.cel(root)} {self.how} {self.right.cel(root)}"

    def holds(self, value: Mapping[str, Any]) -> bool:
        try:
            return bool(COMPARISONS[self.how](self.left.of(value), self.right.of(value)))
        except TypeError as error:
            raise Unfit(str(error)) from error

    def fields(self) -> frozenset[str]:
        return self.left.fields() | self.right.fields()


@dataclass(frozen=True)
class OneOf(Condition):
    term: Term
    choices: tuple[Any, ...]

    def cel(self, root: str = "self") -> str:
        return f"{self.term.cel(root)} in {literal(self.choices)}"

    def holds(self, value: Mapping[str, Any]) -> bool:
        return self.term.of(value) in self.choices

    def fields(self) -> frozenset[str]:
        return self.term.fields()


@dataclass(frozen=True)
class Matches(Condition):
    term: Term
    pattern: str

    def cel(self, root: str = "self") -> str:
        return f"{self.term.cel(root)}.matches({literal(self.pattern)})"

    def holds(self, value: Mapping[str, Any]) -> bool:
        text = self.term.of(value)
        if not isinstance(text, str):
            raise Unfit(f"{text!r} is no text")
        # In RE2 a dollar is the very end of the text; in Python it may stand before a last newline.
        return re.search(self.pattern.replace("$", r"\Z"), text) is not None

    def fields(self) -> frozenset[str]:
        return self.term.fields()


@dataclass(frozen=True)
class AnyItem(Condition):
    """At least one item of a list meets a condition."""

    path: str
    condition: Condition

    def cel(self, root: str = "self") -> str:
        return f"{Value(self.path).cel(root)}.exists(item, {self.condition.cel('item')})"

    def holds(self, value: Mapping[str, Any]) -> bool:
        return any(isinstance(item, Mapping) and self.condition.holds(item) for item in read(value, self.path))

    def fields(self) -> frozenset[str]:
        return frozenset({self.path})


@dataclass(frozen=True)
class EveryName(Condition):
    """Every name of a map of names to values has a pattern, which begins with ^ and ends with $."""

    path: str
    pattern: str

    def cel(self, root: str = "self") -> str:
        return f"{Value(self.path).cel(root)}.all(name, name.matches({literal(self.pattern)}))"

    def holds(self, value: Mapping[str, Any]) -> bool:
        return all(Matches(Value("name"), self.pattern).holds({"name": name}) for name in read(value, self.path))

    def fields(self) -> frozenset[str]:
        return frozenset({self.path})


def _term(value: Any) -> Term:
    return value if isinstance(value, Term) else Constant(value)
