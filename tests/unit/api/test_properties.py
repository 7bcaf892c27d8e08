"""Properties of every valid job: it survives YAML, its defaults keep it valid, and its fingerprint is its own."""

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings

from finetune_api.v1alpha1.advice import MAXIMUM_WARNINGS, warnings
from finetune_api.v1alpha1.defaults import PlatformDefaults, resolve
from finetune_api.v1alpha1.identity import fingerprint
from finetune_api.v1alpha1.support import unsupported
from finetune_api.v1alpha1.validation import parse_job, validate
from finetune_cli import manifest
from finetune_cli.writing import to_yaml
from tests.unit.api.generation import a_document, broken_jobs, valid_jobs

relaxed = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
Document = dict[str, Any]


@relaxed
@given(valid_jobs())
def test_a_job_is_the_same_after_yaml(document: Document) -> None:
    job = parse_job(document)
    (read,) = manifest.parse(to_yaml(job.dump()))
    assert parse_job(read.value) == job
    assert parse_job(read.value).dump() == job.dump()


@relaxed
@given(valid_jobs())
def test_defaults_keep_a_job_valid_and_what_was_written(document: Document) -> None:
    spec = parse_job(document).spec
    resolved = resolve(spec, PlatformDefaults(storage_size="10Gi")).spec
    assert validate(a_document(resolved.dump())) == []
    assert resolve(resolved, PlatformDefaults(storage_size="10Gi")).spec == resolved
    assert _contains(resolved.dump(), spec.dump())


@relaxed
@given(valid_jobs())
def test_what_changes_no_learning_changes_no_fingerprint(document: Document) -> None:
    other = copy.deepcopy(document)
    other["spec"].pop("retryPolicy", None)
    other["spec"].pop("tracking", None)
    other["spec"]["activeDeadlineSeconds"] = 60
    assert _fingerprint(other) == _fingerprint(document)


@relaxed
@given(valid_jobs())
def test_advice_and_support_can_speak_of_every_job(document: Document) -> None:
    spec = parse_job(document).spec
    assert len(warnings(spec)) <= MAXIMUM_WARNINGS
    assert all(problem.field.startswith("spec.") for problem in unsupported(spec))


@relaxed
@given(broken_jobs())
def test_a_broken_job_is_refused(broken: tuple[str, Document]) -> None:
    _, document = broken
    assert validate(document) != []


def _fingerprint(document: Document) -> str:
    return fingerprint(resolve(parse_job(document).spec).spec)


def _contains(whole: Any, part: Any) -> bool:
    """Whether everything of one value is in another, which may have more names."""
    if isinstance(part, dict):
        return all(name in whole and _contains(whole[name], item) for name, item in part.items())
    return bool(whole == part)
