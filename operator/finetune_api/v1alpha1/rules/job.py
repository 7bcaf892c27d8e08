"""Rules of the object as a whole: its name, and whom it tells."""

from __future__ import annotations

from .conditions import Has
from .rule import Rule, exactly_one_of
from .terms import Size, Value

LONGEST_NAME = 50
"""A pod's host name is the job's name with attempt and index, and has at most 63 characters."""

JOB = (
    Rule(
        Value("metadata.name").matches("^[a-z]([-a-z0-9]*[a-z0-9])?$"),
        "metadata.name becomes a host name: write lower-case letters, digits and '-', beginning with a letter "
        "(llama-3-2, not llama-3.2)",
        "metadata.name",
    ),
    Rule(
        Size("metadata.name") <= LONGEST_NAME,
        f"metadata.name becomes a host name: write at most {LONGEST_NAME} characters",
        "metadata.name",
    ),
)
_SELF = "metadata.name"
_NOT_ITSELF = "names the job itself: a job can only go on from another one; write that one's name"
NOT_ITSELF = tuple(
    Rule(
        Has(f"spec.{path}").implies(~Value(f"spec.{path}").equals(Value(_SELF))),
        f"{path} {_NOT_ITSELF}",
        f"spec.{path}",
    )
    for path in ("model.job.name", "checkpoint.from.job.name")
)
NOTIFICATION = (exactly_one_of("on", "true"),)
"""YAML 1.1, which kubectl reads, takes an unquoted `on` for true; both are the same field."""
