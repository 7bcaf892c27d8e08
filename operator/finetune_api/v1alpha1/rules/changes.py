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

NEW, OLD = "self.spec", "oldSelf.spec"
"""The specs in CEL, from the whole object."""
_NEW_JOB = "delete the job and apply it under this or another name"


@dataclass(frozen=True)
class ChangeRule:
    """What must be so between the old and the new spec of a job."""

    field: str
    """The path below spec."""
    cel: str
    message: str
    while_suspended: bool = False
    """Whether the field may be changed while the job is Suspended."""


def unchanged(field: str) -> str:
    """CEL for: a field of the spec is as it was, whether it was written or not."""
    new, old = Has(field).cel(NEW), Has(field).cel(OLD)
    return f"{new} == {old} && (!{new} || {Value(field).cel(NEW)} == {Value(field).cel(OLD)})"


def change_rules(spec_fields: list[str], compute_fields: list[str]) -> list[ChangeRule]:
    """One rule for every field that may not always be changed."""
    return [*_immutable(spec_fields, compute_fields), *_while_suspended(), ONE_WAY_CANCEL]


def _immutable(spec_fields: list[str], compute_fields: list[str]) -> Iterator[ChangeRule]:
    partly = {field.split(".")[0] for field in MUTABLE_WHILE_SUSPENDED}
    fixed = [field for field in spec_fields if field not in ALWAYS_MUTABLE and field not in partly]
    fixed += [path for path in (f"compute.{name}" for name in compute_fields) if path not in MUTABLE_WHILE_SUSPENDED]
    for field in fixed:
        yield ChangeRule(field, unchanged(field), f"{field} cannot be changed: {_NEW_JOB}")


def _while_suspended() -> Iterator[ChangeRule]:
    suspended = Value("status.phase", default="").equals("Suspended").cel()
    for field in MUTABLE_WHILE_SUSPENDED:
        yield ChangeRule(
            field,
            f"{suspended} || ({unchanged(field)})",
            f"{field} can be changed only while the job is Suspended: write spec.suspend true and wait for the phase",
            while_suspended=True,
        )


def _cancelled(root: str) -> str:
    return Value("cancel", default=False).cel(root)


ONE_WAY_CANCEL = ChangeRule(
    "cancel", f"!{_cancelled(OLD)} || {_cancelled(NEW)}", f"cancel cannot be taken back: {_NEW_JOB}"
)


def broken_changes(old: Mapping[str, Any], new: Mapping[str, Any], rules: list[ChangeRule]) -> Iterator[ChangeRule]:
    """The rules that a change from one whole document to another breaks. The phase is that of the old one."""
    suspended = _read(old, "status.phase") == "Suspended"
    for rule in rules:
        before, after = _read(old, f"spec.{rule.field}"), _read(new, f"spec.{rule.field}")
        if rule is ONE_WAY_CANCEL:
            broken = before is True and after is not True
        else:
            broken = before != after and not (rule.while_suspended and suspended)
        if broken:
            yield rule


def _read(document: Mapping[str, Any], path: str) -> Any:
    try:
        return read(document, path)
    except Unfit:
        return None
