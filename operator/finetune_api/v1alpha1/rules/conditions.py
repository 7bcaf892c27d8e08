"""Conditions that the API server (as CEL) and Python judge alike. Which of them must hold is said elsewhere.

A path such as `tuning.rank` is read from the object that a rule stands on; `Has` asks whether it was written.
What a field is, is asked with the terms of terms.py.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .spelling import Unfit, attribute, read

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Condition(ABC):
    """Something that is true or false of an object; `&`, `|`, `~` and `implies` put conditions together."""

    @abstractmethod
    def cel(self, root: str = "self") -> str:
        """The condition in CEL, on the variable `root`."""

    @abstractmethod
    def holds(self, value: Mapping[str, Any]) -> bool:
        """The condition on a plain object. Raises Unfit where the types do not fit."""

    @abstractmethod
    def fields(self) -> frozenset[str]:
        """The paths that are read."""

    def __and__(self, other: Condition) -> Condition:
        return Both(self, other)

    def __or__(self, other: Condition) -> Condition:
        return Either(self, other)

    def __invert__(self) -> Condition:
        return Not(self)

    def implies(self, other: Condition) -> Condition:
        """True unless this holds and the other does not."""
        return Either(Not(self), other)


@dataclass(frozen=True)
class Both(Condition):
    left: Condition
    right: Condition

    def cel(self, root: str = "self") -> str:
        return f"({self.left.cel(root)} && {self.right.cel(root)})"

    def holds(self, value: Mapping[str, Any]) -> bool:
        return self.left.holds(value) and self.right.holds(value)

    def fields(self) -> frozenset[str]:
        return self.left.fields() | self.right.fields()


@dataclass(frozen=True)
class Either(Condition):
    left: Condition
    right: Condition

    def cel(self, root: str = "self") -> str:
        return f"({self.left.cel(root)} || {self.right.cel(root)})"

    def holds(self, value: Mapping[str, Any]) -> bool:
        return self.left.holds(value) or self.right.holds(value)

    def fields(self) -> frozenset[str]:
        return self.left.fields() | self.right.fields()


@dataclass(frozen=True)
class Not(Condition):
    inner: Condition

    def cel(self, root: str = "self") -> str:
        return f"!({self.inner.cel(root)})"

    def holds(self, value: Mapping[str, Any]) -> bool:
        return not self.inner.holds(value)

    def fields(self) -> frozenset[str]:
        return self.inner.fields()


@dataclass(frozen=True)
class Has(Condition):
    """The field was written."""

    path: str

    def cel(self, root: str = "self") -> str:
        at, parts = root, []
        for name in self.path.split("."):
            at = f"{at}.{attribute(name)}"
            parts.append(f"has({at})")
        return parts[0] if len(parts) == 1 else f"({' && '.join(parts)})"

    def holds(self, value: Mapping[str, Any]) -> bool:
        try:
            read(value, self.path)
        except Unfit:
            return False
        return True

    def fields(self) -> frozenset[str]:
        return frozenset({self.path})


@dataclass(frozen=True)
class Count(Condition):
    """How many of some fields were written, compared with a number."""

    paths: tuple[str, ...]
    compare: str
    number: int

    def cel(self, root: str = "self") -> str:
        written = ", ".join(Has(path).cel(root) for path in self.paths)
        return f"[{written}].filter(written, written).size() {self.compare} {self.number}"

    def holds(self, value: Mapping[str, Any]) -> bool:
        written = sum(Has(path).holds(value) for path in self.paths)
        return bool(COMPARISONS[self.compare](written, self.number))

    def fields(self) -> frozenset[str]:
        return frozenset(self.paths)
