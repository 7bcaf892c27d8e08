"""The binding manifests are accepted as they stand, survive the models without loss, and can be resolved."""

from pathlib import Path

import pytest

from finetune_api.v1alpha1.defaults import PlatformDefaults, resolve
from finetune_api.v1alpha1.support import unsupported
from finetune_api.v1alpha1.validation import parse_job, validate
from finetune_cli import manifest
from finetune_cli.writing import to_yaml

FOLDER = Path(__file__).parents[2] / "contract"
DOCUMENTS = [document for file in sorted(FOLDER.glob("*.yaml")) for document in manifest.read(str(file))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.title)
def test_a_contract_manifest_is_accepted_and_kept_whole(document: manifest.Document) -> None:
    assert validate(document.value) == []
    job = parse_job(document.value)
    assert job.dump() == document.value
    (read,) = manifest.parse(to_yaml(job.dump()))
    assert parse_job(read.value) == job


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.title)
def test_a_contract_manifest_stays_valid_with_its_defaults(document: manifest.Document) -> None:
    resolved = resolve(parse_job(document.value).spec, PlatformDefaults(storage_size="10Gi")).spec
    assert validate({**document.value, "spec": resolved.dump()}) == []


def test_an_unquoted_on_is_read_as_kubectl_reads_it() -> None:
    (every_field,) = [document for document in DOCUMENTS if document.title.endswith(" every-field")]
    (notification,) = parse_job(every_field.value).spec.notifications or []
    assert every_field.value["spec"]["notifications"] == [{"channel": "team-slack", "true": ["Succeeded", "Failed"]}]
    assert notification.events == ["Succeeded", "Failed"]


def test_the_smallest_job_asks_for_nothing_that_is_not_there_yet() -> None:
    assert unsupported(parse_job(DOCUMENTS[0].value).spec) == []
