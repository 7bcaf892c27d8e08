"""`finetune render`: what the operator would create, from the operator's own builders; creates nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from finetune_api.v1alpha1.defaults import resolve
from finetune_api.v1alpha1.job import FineTuneJob
from finetune_api.v1alpha1.validation import parse_job
from finetune_operator.builders.attempt import Attempt, documents
from finetune_operator.builders.environment import config
from finetune_operator.predecessors import stand_ins
from finetune_operator.settings import Settings

from .checking import only_job, problems
from .errors import Exit
from .manifest import read
from .writing import to_yaml

UNKNOWN_UID = "00000000-0000-0000-0000-000000000000"


def render_job(path: str, name: str | None) -> Exit:
    """Prints the documents of the first attempt. Raises CliError."""
    documents_there = read(path)
    _, job = only_job(documents_there, name)
    others = [parse_job(other.value) for other in documents_there if other.is_job and not problems(other)]
    typer.echo(rendered(job, Settings(), others), nl=False)
    return Exit.SUCCEEDED


def rendered(job: FineTuneJob, settings: Settings, others: Sequence[FineTuneJob] = ()) -> str:
    """The resolved spec as comments, then the documents, as one YAML stream. `others`: manifests of the same file."""
    jobs = stand_ins(job.spec, others, settings.platform)
    resolution = resolve(job.spec, settings.platform)
    attempt = Attempt(
        name=job.metadata.name,
        namespace=job.metadata.namespace or "default",
        uid=job.metadata.uid or UNKNOWN_UID,
        number=1,
        spec=resolution.spec,
        image=(resolution.spec.compute and resolution.spec.compute.image) or settings.trainer_image,
        labels=job.metadata.labels or {},
        annotations=job.metadata.annotations or {},
        jobs=jobs,
    )
    made = [document for document in documents(attempt, settings) if not _without_size(document)]
    head = [f"What the operator creates for the first attempt of {job.metadata.name}."]
    head += [f"Results: {attempt.claim}:{job.metadata.name}/{attempt.fingerprint}/"]
    head += [
        f"It begins with what job {one.name} has made and waits for that: {one.claim}:{one.path}/ and the fingerprint "
        "of the results stand for what is known then."
        for one in jobs
    ]
    if len(made) < len(documents(attempt, settings)):
        head.append("The claim is left out: spec.storage says no size, and FINETUNE_PLATFORM__STORAGE_SIZE is not set.")
    head += ["Defaults, and why:", *(f"  {reason}" for reason in resolution.because)]
    head += ["FINETUNE_CONFIG below is the base64 of:", *_indented(config(attempt).dump())]
    comments = "".join(f"# {line}\n" for line in head)
    return comments + "".join("---\n" + to_yaml(document) for document in made)


def _without_size(document: dict[str, Any]) -> bool:
    if document["kind"] != "PersistentVolumeClaim":
        return False
    return document["spec"]["resources"]["requests"]["storage"] is None


def _indented(document: dict[str, Any]) -> list[str]:
    return ["  " + line for line in to_yaml(document).splitlines()]
