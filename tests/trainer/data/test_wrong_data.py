"""What is wrong with the data is said with file, line, column and the mend."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from finetune_trainer.errors import DataError, UserError
from tests.trainer.data.building import ADataset, claim

PAIR = '{"prompt": "a", "completion": "b"}\n'


@pytest.mark.parametrize(
    ("name", "content", "line", "column", "says"),
    [
        ("a.jsonl", PAIR * 6 + '{"prompt": "a" "completion": "b"}\n', 7, 16, "not JSON: Expecting ',' delimiter"),
        ("a.jsonl", PAIR * 60 + '{"prompt": "a"\n' + PAIR, 61, 15, "not JSON: Expecting ',' delimiter"),
        ("a.jsonl", PAIR * 60 + '{"prompt": "a\r\n' + PAIR, 61, 12, "not JSON: Unterminated string"),
        ("a.jsonl", PAIR + PAIR.replace("b", "b \\ud83d"), 2, None, "row 2 has half of a character, \\ud83d"),
        ("a.json", "[" + PAIR + "," + PAIR.replace("b", "\\uDE00") + "]", 2, None, "row 2 has half of a character"),
        ("a.jsonl", PAIR + '{"n": ' + "9" * 5000 + "}\n", 2, None, "cannot be read: Exceeds the limit (4300 digits)"),
        ("a.jsonl", PAIR + '{"n": ' + "[" * 100_000 + "\n", 2, None, "cannot be read: maximum recursion depth"),
        ("a.json", "[" + PAIR + ",[" + "[" * 100_000, 2, None, "cannot be read: maximum recursion depth"),
        ("a.jsonl", PAIR + "[1]\n", 2, 1, "row 2 is a list, not an object"),
        ("a.jsonl", PAIR + "\n\n" + '{"prompt": "a"}\n', 4, None, "row 2 has no column completion; it has prompt"),
        ("a.jsonl", PAIR + '{"prompt": "a", "completion": 3}\n', 2, None, "completion of row 2 is a number"),
        ("a.jsonl", PAIR + '{"prompt": "a", "completion": null}\n', 2, None, "completion of row 2 is null"),
        ("a.jsonl", "[\n" + PAIR + "]", 1, 1, "looks like one JSON document"),
        ("a.jsonl", PAIR.encode() + b'{"prompt": "\xff"}\n', 2, 13, "byte 0xff at offset 47 is not UTF-8"),
        ("a.txt", b"one\ntwo \xe9", 2, 5, "byte 0xe9 at offset 8 is not UTF-8"),
        ("a.json", '[\n  {"prompt": "a", "completion": "b"},\n  {"prompt": }\n]', 3, 14, "Expecting value"),
        ("a.json", '[\n {"prompt": "a", "completion": "b"}\n {"prompt": "c"}]', 3, 2, "Expecting ',' delimiter"),
        ("a.json", f'[{PAIR},\n{{"prompt": "a"}}]', 3, None, "row 2 has no column completion"),
        ("a.json", f"[{PAIR}", 2, 1, "Expecting ',' delimiter"),
        ("a.json", '{"a": [], "b": []}', 1, None, "the object has 2 lists (a, b)"),
        ("a.json", '"text"', 1, None, "neither an array of rows nor an object"),
        ("a.csv", 'prompt,completion\na,b\n"c\nd",e\nf,g, h\n', 5, None, "row 3 has 3 fields, the header has 2"),
        ("a.csv", "prompt,completion\na\n", 2, None, "row 1 has 1 fields"),
        ("a.csv", 'prompt,completion\na,b\na,"b\n', 3, None, "not CSV: unexpected end of data"),
        ("a.csv", "prompt;completion\na;b\n", 1, None, "separated by something other than a comma"),
        ("a.csv", "prompt,prompt\na,b\n", 1, None, "the column prompt is there twice"),
        ("a.csv", "prompt,\na,b\n", 1, None, "column 2 has no name"),
        ("a.jsonl", "", None, None, "the file has no rows"),
        ("a.json", "[]", None, None, "the file has no rows"),
        ("a.txt", " \n", None, None, "the file has no rows"),
        ("a.csv", "prompt,completion\n", None, None, "the file has no rows"),
        ("a.parquet", "PAR1 nonsense", None, None, "not a readable Parquet file"),
        ("a.jsonl.gz", b"no gzip", None, None, "cannot be read"),
        ("a.docx", "x", None, None, "kind is not known from its name"),
        ("a.jsonl", '{"messages": "hi"}', 1, None, "messages is a string, not a list of messages"),
        ("a.jsonl", '{"messages": [{"content": "x"}]}', 1, None, "messages[0] has no role; it has content"),
        ("a.jsonl", '{"messages": [{"role": "boss", "content": "x"}]}', 1, None, "messages[0] has the role 'boss'"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": "x"}]}', 1, None, "has no assistant message"),
        ("a.jsonl", '{"messages": [{"role": "assistant", "text": "x"}]}', 1, None, "messages[0] has no content"),
        (
            "a.jsonl",
            '{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
            1,
            None,
            "messages[0] has content other than text",
        ),
        ("a.jsonl", '{"a": "x", "b": "y"}', 1, None, "the columns (a, b) fit no format"),
        ("a.jsonl", '{"instruction": "x", "output": "y", "text": "z"}', 1, None, "fit Text and Instruction"),
    ],
)
def test_says_where_and_what(
    data: ADataset, name: str, content: str | bytes, line: int | None, column: int | None, says: str
) -> None:
    data.file(name, content)

    with pytest.raises(DataError, match=re.escape(says)) as raised:
        data.prepare(name)

    assert (raised.value.file, raised.value.line, raised.value.column) == (f"data/{name}", line, column)
    assert raised.value.message.startswith(":".join(str(part) for part in (f"data/{name}", line, column) if part))
    assert raised.value.advice


def test_a_missing_file_lists_what_is_there(data: ADataset) -> None:
    data.file("python/train.jsonl", PAIR).file("python/more/x.csv", "a\n")

    with pytest.raises(DataError, match="no such file") as raised:
        data.prepare("python/trian.jsonl")

    assert raised.value.advice == "python holds more/, train.jsonl."


def test_a_missing_directory_lists_the_nearest_one(data: ADataset) -> None:
    data.file("train.jsonl", PAIR)

    with pytest.raises(DataError) as raised:
        data.prepare("a/b/c.jsonl")

    assert raised.value.advice == "The root of the volume holds train.jsonl."


@pytest.mark.parametrize("path", ["../secret.jsonl", "link.jsonl", "folder"])
def test_nothing_outside_the_volume_is_read(data: ADataset, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.jsonl").write_text(PAIR)
    data.file("folder/x.txt", "x")
    (tmp_path / "data/link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (tmp_path / "data/folder/link.jsonl").symlink_to(tmp_path / "secret.jsonl")

    with pytest.raises(DataError, match="leads out of its volume"):
        data.prepare(path)


def test_a_directory_without_data_says_what_it_holds(data: ADataset) -> None:
    data.file("folder/README.md", "hello")

    with pytest.raises(DataError, match="no data files") as raised:
        data.prepare("folder")

    assert "It holds README.md." in raised.value.advice


def test_a_claim_that_is_not_mounted_is_named(data: ADataset) -> None:
    data.with_dataset(sources=[{"claim": {"name": "other", "path": "x.jsonl"}}])

    with pytest.raises(UserError, match="The claim other is not mounted; mounted are: data"):
        data.prepare()


def test_a_renamed_column_that_is_not_there_lists_those_that_are(data: ADataset) -> None:
    data.file("a.jsonl", [{"q": "x", "completion": "y"}]).with_dataset(columns={"prompt": "question"})

    with pytest.raises(DataError, match=r"row 1 has no column question; it has q, completion"):
        data.prepare("a.jsonl")


def test_a_renamed_field_that_the_format_lacks_lists_its_fields(data: ADataset) -> None:
    data.file("a.jsonl", [{"prompt": "x", "completion": "y"}]).with_dataset(columns={"promt": "prompt"})

    with pytest.raises(UserError, match="names promt, which is no field") as raised:
        data.prepare("a.jsonl")

    assert "prompt, completion" in raised.value.advice


def test_a_group_column_that_is_not_there_is_an_error(data: ADataset) -> None:
    data.file("a.jsonl", PAIR).with_dataset(groupBy="author")

    with pytest.raises(DataError, match="no column author"):
        data.prepare("a.jsonl")


def test_rows_of_another_shape_in_a_directory_are_named_by_their_file(data: ADataset) -> None:
    data.file("d/a.jsonl", PAIR).file("d/b.csv", "question,answer\nx,y\n")

    with pytest.raises(DataError, match=r"^data/d/b\.csv:2: row 1 has no column prompt"):
        data.prepare("d")


def test_a_loss_that_text_cannot_have_is_refused(data: ADataset) -> None:
    data.file("a.txt", "hello").hyperparameters["loss"] = "Completion"

    with pytest.raises(UserError, match="no completion part"):
        data.prepare("a.txt")


def test_a_system_message_without_effect_is_refused(data: ADataset) -> None:
    data.file("a.txt", "hello").with_dataset(systemMessage="Be brief.")

    with pytest.raises(UserError, match="no effect on plain text"):
        data.prepare("a.txt")


def test_a_missing_chat_template_key_lists_the_keys(data: ADataset) -> None:
    data.file("a.jsonl", PAIR).config_map("chat.jinja", "x")
    data.with_dataset(chatTemplate={"configMap": {"name": "texts", "key": "chat.jinj"}})

    with pytest.raises(DataError, match="no such key") as raised:
        data.prepare("a.jsonl")

    assert "It has chat.jinja" in raised.value.advice


def test_every_prompt_too_long_is_an_error_that_says_what_to_raise(data: ADataset) -> None:
    data.file("a.jsonl", [{"prompt": "fox " * 50, "completion": "b"}])

    with pytest.raises(DataError, match="not one example has a token to learn within 16 tokens") as raised:
        data.prepare("a.jsonl", length=16)

    assert "maxSequenceLength" in raised.value.advice


def test_an_unreadable_key_of_a_config_map_names_the_kinds(data: ADataset) -> None:
    data.config_map("train", PAIR).with_dataset(sources=[{"configMap": {"name": "texts", "key": "train"}}])

    with pytest.raises(DataError, match="kind is not known"):
        data.prepare()


def test_validation_of_everything_is_refused(data: ADataset) -> None:
    data.file("a.jsonl", PAIR * 5).with_dataset(split={"validation": 0.5})

    with pytest.raises(DataError, match="leave nothing to train on"):
        data.prepare("a.jsonl")


def test_nothing_left_after_cleaning_is_an_error(data: ADataset) -> None:
    data.file("a.gz.jsonl", PAIR).with_dataset(cleaning={"minCharacters": 100})

    with pytest.raises(DataError, match="no example is left"):
        data.prepare("a.gz.jsonl")


def test_gzip_errors_come_from_the_line_inside(data: ADataset) -> None:
    data.file("a.jsonl.gz", gzip.compress((PAIR + "{").encode()))

    with pytest.raises(DataError, match=r"^data/a\.jsonl\.gz:2:2: "):
        data.prepare("a.jsonl.gz")


def test_held_out_sources_are_checked_as_well(data: ADataset) -> None:
    data.file("a.jsonl", PAIR).file("v.jsonl", "{x")
    data.with_dataset(validation={"sources": [claim("v.jsonl")]})

    with pytest.raises(DataError, match=r"^data/v\.jsonl:1:2"):
        data.prepare("a.jsonl")
