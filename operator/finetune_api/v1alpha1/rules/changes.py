"""What may be changed in a job that exists: a few fields always, a few while it is suspended, all else never."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .conditions import Has
from .spelling import Unfit, read
from .terms import Value

ALWAYS_MUTABLE = (
    "suspend",
    "cancel",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
    "retryPolicy",
    "notifications",
)
MUTABLE_WHILE_SUSPENDED = ("compute.nodes", "compute.cpu", "compute.memory", "podTemplate")

_NEW_JOB = "delete the job and apply it under this or another name"


@dataclass(frozen=True)
class ChangeRule:
    """What must be so between the old and the new object; `level` is where the rule stands, `spec` or the root ("")."""

    level: str
    field: str
    cel: str
    message: str


def unchanged(field: str, *, prefix: str = "") -> str:
    """CEL for: a field is as it was, whether it was written or not."""
    path = f"{prefix}{field}"
    new, old = Has(path).cel("self"), Has(path).cel("oldSelf")
    same = f"{Value(path).cel('self')} == {Value(path).cel('oldSelf')}"
    return f"{new} == {old} && (!{new} || {same})"


def change_rules(spec_fields: list[str], compute_fields: list[str]) -> list[ChangeRule]:
    """One rule for every field that may not always be changed."""
    return [*_immutable(spec_fields, compute_fields), *_while_suspended(), ONE_WAY_CANCEL]


def _immutable(spec_fields: list[str], compute_fields: list[str]) -> Iterator[ChangeRule]:
    partly = {field.split(".")[0] for field in MUTABLE_WHILE_SUSPENDED}
    fixed = [field for field in spec_fields if field not in ALWAYS_MUTABLE and field not in partly]
    fixed += [path for path in (f"compute.{name}" for name in compute_fields) if path not in MUTABLE_WHILE_SUSPENDED]
    for field in fixed:
        yield ChangeRule("spec", field, unchanged(field), f"{field} cannot be changed: {_NEW_JOB}")


def _while_suspended() -> Iterator[ChangeRule]:
    suspended = "(has(self.status) && has(self.status.phase) && self.status.phase == 'Suspended')"
    for field in MUTABLE_WHILE_SUSPENDED:
        yield ChangeRule(
            "",
            f"spec.{field}",
            f"{suspended} || ({unchanged(field, prefix='spec.')})",
            f"{field} can be changed only while the job is Suspended: write spec.suspend true and wait for the phase",
        )


ONE_WAY_CANCEL = ChangeRule(
    "spec",
    "cancel",
    "!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",
    f"cancel cannot be taken back: {_NEW_JOB}",
)


def validations(rules: list[ChangeRule]) -> dict[str, dict[str, str]]:
    """The rules as the API server takes them: one for each level, which says in its answer what was changed.

    The server evaluates them at every write of the status as well, and each access to a field of `spec` copies the
    schemas of all of them: so a single comparison of the whole comes first, and most writes end with it.
    """
    return {level: _joint([rule for rule in rules if rule.level == level], level) for level in ("spec", "")}


def _joint(rules: list[ChangeRule], level: str) -> dict[str, str]:
    same = "self == oldSelf" if level == "spec" else "self.spec == oldSelf.spec"
    (mend,) = {rule.message.partition(": ")[2] for rule in rules}
    # Concatenation, since the API server takes `join` for too dear.
    said = " + ".join(f"(({rule.cel}) ? '' : '{rule.message.partition(': ')[0]}; ')" for rule in rules)
    return {
        "rule": f"{same} || ({' && '.join(f'({rule.cel})' for rule in rules)})",
        "message": f"something was changed that cannot be: {mend}",
        "messageExpression": f"{said} + '{mend}'",
    }


def broken_changes(old: Mapping[str, Any], new: Mapping[str, Any], rules: list[ChangeRule]) -> Iterator[ChangeRule]:
    """The rules that a change from one whole document to another breaks. The phase is that of the old one."""
    suspended = _read(old, "status.phase") == "Suspended"
    for rule in rules:
        path = f"spec.{rule.field}" if rule.level == "spec" else rule.field
        before, after = _read(old, path), _read(new, path)
        if rule is ONE_WAY_CANCEL:
            broken = before is True and after is not True
        else:
            broken = before != after and not (rule.level == "" and suspended)
        if broken:
            yield rule


def _read(document: Mapping[str, Any], path: str) -> Any:
    try:
        return read(document, path)
    except Unfit:
        return None
