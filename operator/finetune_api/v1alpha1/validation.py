"""The one door from a document to a FineTuneJob: the same verdict as the API server's, with every problem at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from .job import FineTuneJob
from .problems import InvalidJob, Problem
from .structure import structural_problems

__all__ = ["InvalidJob", "Problem", "parse_job", "validate"]


def validate(document: Any) -> list[Problem]:
    """All that is wrong with a document as read from YAML or JSON; never raises. Status is not looked at."""
    if not isinstance(document, Mapping):
        return [
            Problem("", f"is {type(document).__name__}, not a FineTuneJob: write apiVersion, kind, metadata and spec")
        ]
    return structural_problems({name: value for name, value in document.items() if name != "status"})


def parse_job(document: Any) -> FineTuneJob:
    """Reads a document. Raises InvalidJob with every problem that validate finds."""
    problems = validate(document)
    if problems:
        raise InvalidJob(problems)
    try:
        return FineTuneJob.model_validate(document)
    except ValidationError as error:  # only the status is left to be wrong
        raise InvalidJob([Problem("status", str(error))]) from error
