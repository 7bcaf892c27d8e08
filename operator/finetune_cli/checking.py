"""`finetune validate`: what is wrong with manifests, with file and line; the rules are finetune_api's."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from finetune_api.v1alpha1.advice import warnings
from finetune_api.v1alpha1.job import FineTuneJob
from finetune_api.v1alpha1.predecessors import circle, references
from finetune_api.v1alpha1.support import unsupported
from finetune_api.v1alpha1.validation import Problem, parse_job, validate

from .errors import Exit, ManifestError, RefusedJobError
from .manifest import Document, read


def validate_files(paths: Sequence[str]) -> Exit:
    """Prints a line for each job and each problem. Everything is looked at, also after the first wrong one."""
    worst = Exit.SUCCEEDED
    documents: list[Document] = []
    for path in paths:
        try:
            documents += read(path)
        except ManifestError as error:
            typer.echo(error.message, err=True)
            worst = Exit.INVALID
    circles = _circles(documents)
    for document in documents:
        if _report(document, circles):
            worst = Exit.INVALID
    return worst


def problems(document: Document) -> list[Problem]:
    """What is wrong; where nothing is, what this version cannot do."""
    return validate(document.value) or unsupported(parse_job(document.value).spec)


def only_job(documents: Sequence[Document], name: str | None) -> tuple[Document, FineTuneJob]:
    """The one job that is meant. Raises RefusedJobError with every problem, ManifestError where none is."""
    jobs = [document for document in documents if document.is_job]
    chosen = [document for document in jobs if name is None or document.title.endswith(f" {name}")]
    if len(chosen) != 1:
        names = ", ".join(document.title.rpartition(" ")[2] for document in jobs) or "none"
        raise ManifestError(
            f"{'has no job ' + name if name else 'needs --job'}: the jobs there are {names}", documents[0].file
        )
    found = problems(chosen[0])
    if found:
        raise RefusedJobError("\n".join([f"{chosen[0].title} is refused", *lines(chosen[0], found)]))
    return chosen[0], parse_job(chosen[0].value)


def lines(document: Document, found: Sequence[Problem]) -> list[str]:
    """One line a problem, in the order of the file."""
    ordered = sorted(found, key=lambda problem: document.line(problem.field))
    return [f"{document.file}:{document.line(problem.field)}: {problem}" for problem in ordered]


def _circles(documents: Sequence[Document]) -> dict[str, Problem]:
    """For each job, by its name, that would wait for ever: the jobs that wait for one another."""
    valid = [parse_job(document.value) for document in documents if document.is_job and not problems(document)]
    waits = {job.metadata.name: references(job.spec) for job in valid if references(job.spec)}
    names = {name: [reference.name for reference in named] for name, named in waits.items()}
    return {
        name: Problem(named[0].field, said)
        for name, named in waits.items()
        if (said := circle(names, name)) is not None
    }


def _report(document: Document, circles: dict[str, Problem]) -> bool:
    """Whether something is wrong."""
    if not document.is_job:
        typer.echo(f"{document.file}: {document.title} is not ours and was not looked at")
        return False
    found = problems(document)
    if not found:
        found = [circles[name]] if (name := parse_job(document.value).metadata.name) in circles else []
    for line in lines(document, found):
        typer.echo(line, err=True)
    if found:
        return True
    typer.echo(f"{document.file}: {document.title} is valid")
    for warning in warnings(parse_job(document.value).spec):
        typer.echo(f"  warning: {warning}")
    return False
