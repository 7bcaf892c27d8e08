"""The one door from a document to a FineTuneJob: the same verdict as the API server's, with every problem at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from .job import FineTuneJob
from .judgement import change_problems, rule_problems
from .problems import InvalidJob, Problem
from .structure import structural_problems

__all__ = ["InvalidJob", "Problem", "parse_job", "validate", "validate_change"]

LONGEST_GENERATED_BASE = 58
"""The API server cuts generateName here and adds five characters."""


def validate(document: Any) -> list[Problem]:
    """All that is wrong with a document as read from YAML or JSON; never raises. Status is not looked at."""
    if not isinstance(document, Mapping):
        return [Problem("", "is no FineTuneJob: write an object with apiVersion, kind, metadata and spec")]
    judged = {name: value for name, value in document.items() if name != "status"}
    problems = structural_problems(judged)
    named = _with_generated_name(judged)
    if named is None:
        return [*problems, Problem("metadata.name", "is missing: write a name for the job")]
    return [*problems, *rule_problems(named, problems)]


def validate_change(old: Mapping[str, Any], new: Any) -> list[Problem]:
    """All that is wrong with a document as the successor of one that the API server holds (with its status)."""
    problems = validate(new)
    return problems if problems else change_problems(old, {**new, "status": old.get("status")})


def parse_job(document: Any) -> FineTuneJob:
    """Reads a document. Raises InvalidJob with every problem that validate finds."""
    problems = validate(document)
    if problems:
        raise InvalidJob(problems)
    try:
        return FineTuneJob.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:  # only the status is left to be wrong
        raise InvalidJob([Problem("status", str(error))]) from error


def _with_generated_name(document: dict[str, Any]) -> dict[str, Any] | None:
    """The document with the name that generateName will give it, or None where it has no name at all."""
    metadata = document.get("metadata")
    if not isinstance(metadata, Mapping) or metadata.get("name"):
        return document
    base = metadata.get("generateName")
    if not isinstance(base, str) or not base:
        return None
    return {**document, "metadata": {**metadata, "name": f"{base[:LONGEST_GENERATED_BASE]}xxxxx"}}
