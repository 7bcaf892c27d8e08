"""Files are read as kubectl reads them, and what cannot be read says where."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from finetune_cli.errors import ManifestError
from finetune_cli.manifest import parse, read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", r"job\.yaml:3: a is written twice"),
        ("a:\n  b: [1, 2\n", r"job\.yaml:3: is no YAML"),
        ("a:\n\tb: 1\n", r"job\.yaml:2: is no YAML: .*spaces"),
        ("? [a]\n: 1\n", r"job\.yaml:1: a key must be a name"),
        ("~: 1\n", r"job\.yaml:1: a key is null"),
        ("a: &a [*a]\n", r"job\.yaml:1: an alias stands inside"),
        ("# nothing\n---\n", r"job\.yaml: holds no object"),
        ("a: {<<: 3}\n", r"job\.yaml:1: << takes an object"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        parse(text, "job.yaml")


def test_documents_keep_their_lines() -> None:
    first, second = parse("kind: A\n---\nkind: FineTuneJob\nspec:\n  list:\n  - x: 1\n    z: 2\n")

    assert first.line("kind") == 1
    assert second.line("spec.list[0].z") == 7
    assert second.line("spec.list[0].missing") == 6


def test_a_missing_field_is_looked_for_at_the_object_around_it() -> None:
    document = parse("spec:\n  model:\n    hub: {id: a}\n")[0]

    assert document.line("spec.model.hub.revision") == 3
    assert document.line("metadata") == 1


def test_a_list_gives_its_items_with_their_own_fields() -> None:
    items = parse("kind: List\nitems:\n- kind: FineTuneJob\n  spec: {}\n- kind: ConfigMap\n")

    assert [item.value["kind"] for item in items] == ["FineTuneJob", "ConfigMap"]
    assert [item.is_job for item in items] == [True, False]
    assert items[0].line("spec") == 4


def test_merged_keys_give_way_to_written_ones() -> None:
    assert parse("a: &a {x: 1, z: 1}\nb: {<<: *a, z: 2}\n")[0].value["b"] == {"x": 1, "z": 2}


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfkind: FineTuneJob\n")))

    assert read("-")[0].value == {"kind": "FineTuneJob"}


def test_a_file_that_is_not_there_or_no_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="No such file"):
        read(str(tmp_path / "none.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ManifestError, match="not UTF-8 at byte 3"):
        read(str(tmp_path / "binary.yaml"))
