"""What is generated from the models is committed as it is generated: run `make crds` where this fails."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_api.v1alpha1.crd import custom_resource_definition
from finetune_api.v1alpha1.schema import openapi_schema
from tests.generate import generated

Schema = dict[str, Any]


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_the_committed_file_is_what_the_models_say(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated()[path]


def test_the_schema_is_structural_and_has_no_defaults_or_nullable_fields() -> None:
    for place, schema in _schemas("", openapi_schema()):
        assert "type" in schema, place
        assert not {"$ref", "anyOf", "oneOf", "allOf", "default", "nullable", "title"} & set(schema), place
        assert "x-kubernetes-preserve-unknown-fields" not in schema, place


def test_everything_that_people_write_is_bounded() -> None:
    for place, schema in _schemas("spec", openapi_schema()["properties"]["spec"]):
        if schema["type"] == "array":
            assert "maxItems" in schema, place
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, place
        if schema["type"] == "string" and "enum" not in schema:
            assert "maxLength" in schema, place
        if schema["type"] == "integer":
            assert "maximum" in schema, place


def test_every_field_says_what_it_means() -> None:
    silent = [
        place
        for place, schema in _schemas("", openapi_schema())
        if not schema.get("description") and not place.endswith(("[]", "{}", ".metadata"))
    ]
    assert silent == []


def test_status_refuses_no_word_of_a_newer_operator() -> None:
    for place, schema in _schemas("status", openapi_schema()["properties"]["status"]):
        assert "enum" not in schema, place


def test_the_resource_has_its_short_name_and_category() -> None:
    names = custom_resource_definition()["spec"]["names"]
    assert (names["shortNames"], names["categories"]) == (["ftj"], ["all"])


def _schemas(place: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    yield place, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _schemas(f"{place}.{name}", inner)
    if "items" in schema:
        yield from _schemas(f"{place}[]", schema["items"])
    if "additionalProperties" in schema:
        yield from _schemas(f"{place}{{}}", schema["additionalProperties"])
