"""Every kind of file and shape of row is understood, and fed as documented."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tests.trainer.data.building import CHATML, ADataset, a_tokenizer, claim, fed, trained

ROWS = [{"prompt": "the fox", "completion": " jumps"}, {"prompt": 'a "lazy",\ndog', "completion": " answers é"}]
TURN = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyo<|im_end|>"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", "\n".join(map(json.dumps, ROWS))),
        ("a.ndjson", "\ufeff" + "\n".join(map(json.dumps, ROWS))),
        ("a.json", json.dumps(ROWS, indent=2)),
        ("b.json", json.dumps({"version": 1, "rows": ROWS})),
        ("c.json", "\n".join(map(json.dumps, ROWS))),
        ("a.csv", 'prompt,completion\r\nthe fox, jumps\r\n"a ""lazy"",\ndog", answers é\r\n'),
        ("a.tsv", 'prompt\tcompletion\nthe fox\t jumps\n"a ""lazy"",\ndog"\t answers é\n'),
        # Without the time in it, which made two names of one test where two processes collected in different seconds.
        ("a.jsonl.gz", gzip.compress("\n".join(map(json.dumps, ROWS)).encode(), mtime=0)),
    ],
)
def test_every_kind_of_file_gives_the_same_rows(data: ADataset, name: str, content: str | bytes) -> None:
    tokenizer = a_tokenizer()

    prepared = data.file(name, content).prepare(name, tokenizer=tokenizer)

    assert fed(prepared, tokenizer) == ["the fox jumps</s>", 'a "lazy",\ndog answers é</s>']
    assert trained(prepared, tokenizer) == [" jumps</s>", " answers é</s>"]


def test_parquet_gives_the_same_rows(data: ADataset) -> None:
    data.file("x.txt", "")
    parquet.write_table(pa.Table.from_pylist(ROWS), data.root / "data/a.parquet")
    tokenizer = a_tokenizer()

    assert trained(data.prepare("a.parquet", tokenizer=tokenizer), tokenizer) == [" jumps</s>", " answers é</s>"]


def test_a_directory_is_read_recursively_and_in_order(data: ADataset) -> None:
    data.file("d/b.jsonl", [ROWS[1]]).file("d/a/z.csv", "prompt,completion\nthe fox, jumps\n").file("d/.x/y.csv", "?")
    data.file("d/README.md", "no data")
    tokenizer = a_tokenizer()

    assert trained(data.prepare("d", tokenizer=tokenizer), tokenizer) == [" jumps</s>", " answers é</s>"]


def test_the_root_of_a_claim_is_a_directory_too(data: ADataset) -> None:
    tokenizer = a_tokenizer()

    assert trained(data.file("a.jsonl", ROWS[:1]).prepare(None, tokenizer=tokenizer), tokenizer) == [" jumps</s>"]


def test_a_key_of_a_config_map_is_a_file(data: ADataset) -> None:
    data.config_map("a.jsonl", json.dumps(ROWS[0]))
    data.with_dataset(sources=[{"configMap": {"name": "texts", "key": "a.jsonl"}}])
    tokenizer = a_tokenizer()

    assert trained(data.prepare(tokenizer=tokenizer), tokenizer) == [" jumps</s>"]


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "hi", "output": "yo"},
        {"instruction": "hi", "input": "", "output": "yo"},
        {"instruction": "hi", "input": None, "output": "yo", "id": 3},
        {"question": "hi", "answer": "yo"},
        {"prompt": "hi", "response": "yo"},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]},
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, {"from": "gpt", "value": "yo"}]},
        {"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "assistant", "content": "yo"}]},
    ],
)
def test_the_shapes_of_the_field_are_detected_and_put_through_the_template(data: ADataset, row: dict[str, Any]) -> None:
    tokenizer = a_tokenizer(CHATML)

    prepared = data.file("a.jsonl", [row]).prepare("a.jsonl", tokenizer=tokenizer)

    assert fed(prepared, tokenizer) == [TURN]
    assert trained(prepared, tokenizer) == ["yo<|im_end|>"]
    assert prepared.warnings == []


def test_a_column_that_only_later_rows_have_is_not_lost(data: ADataset) -> None:
    tokenizer = a_tokenizer(CHATML)
    rows = [{"instruction": "hi", "output": "yo"}, {"instruction": "hi", "input": "you", "output": "yo"}]

    prepared = data.file("a.jsonl", rows).prepare("a.jsonl", tokenizer=tokenizer)

    assert "hi\n\nyou<|im_end|>" in fed(prepared, tokenizer)[1]


def test_columns_rename(data: ADataset) -> None:
    data.file("a.jsonl", [{"q": "the fox", "a": " jumps"}]).with_dataset(columns={"prompt": "q", "completion": "a"})
    tokenizer = a_tokenizer()

    assert trained(data.prepare("a.jsonl", tokenizer=tokenizer), tokenizer) == [" jumps</s>"]


def test_a_format_settles_what_could_be_two(data: ADataset) -> None:
    data.file("a.jsonl", [{"instruction": "hi", "output": "yo", "text": "z"}]).with_dataset(format="Text")
    tokenizer = a_tokenizer()

    assert trained(data.prepare("a.jsonl", tokenizer=tokenizer), tokenizer) == ["z</s>"]


def test_sources_of_different_formats_go_together_and_are_counted_by_task(data: ADataset) -> None:
    data.file("a.jsonl", [{"instruction": "hi", "output": "yo"}]).file("b.jsonl", ROWS)
    data.with_dataset(sources=[claim("a.jsonl", task="chat"), claim("b.jsonl")])
    tokenizer = a_tokenizer(CHATML)

    prepared = data.prepare(tokenizer=tokenizer)

    assert trained(prepared, tokenizer) == ["yo<|im_end|>", " jumps</s>", " answers é</s>"]
    assert prepared.counts == {"train": {"chat": 1, "data/b.jsonl": 2}}


def test_rows_with_nothing_to_learn_are_left_out_and_counted(data: ADataset) -> None:
    data.file("a.jsonl", [ROWS[0], {"prompt": "x", "completion": " "}])

    prepared = data.prepare("a.jsonl")

    assert len(prepared.train) == 1
    assert any("1 rows of data/a.jsonl have nothing to learn" in line and "row 2" in line for line in prepared.warnings)


def test_a_system_message_is_put_where_there_is_none(data: ADataset) -> None:
    own = [{"role": "system", "content": "Own."}]
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    data.file("a.jsonl", [{"messages": own + turns}, {"messages": turns}]).with_dataset(systemMessage="Be brief.")
    tokenizer = a_tokenizer(CHATML)

    texts = fed(data.prepare("a.jsonl", tokenizer=tokenizer), tokenizer)

    assert texts == [f"<|im_start|>system\n{text}<|im_end|>\n{TURN}" for text in ("Own.", "Be brief.")]


def test_a_pair_with_a_system_message_becomes_a_conversation(data: ADataset) -> None:
    data.file("a.jsonl", [{"prompt": "hi", "completion": "yo"}]).with_dataset(systemMessage="Be brief.")
    tokenizer = a_tokenizer(CHATML)

    assert fed(data.prepare("a.jsonl", tokenizer=tokenizer), tokenizer) == [
        f"<|im_start|>system\nBe brief.<|im_end|>\n{TURN}"
    ]


def test_the_jobs_template_comes_before_the_tokenizers_and_is_kept_with_it(data: ADataset) -> None:
    template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    template += "{% if add_generation_prompt %}[assistant] {% endif %}"
    data.config_map("chat.jinja", template).file("a.jsonl", [{"question": "hi", "answer": "yo"}])
    data.with_dataset(chatTemplate={"configMap": {"name": "texts", "key": "chat.jinja"}})
    tokenizer = a_tokenizer(CHATML)

    prepared = data.prepare("a.jsonl", tokenizer=tokenizer)

    # The template ends an answer with plain text: the end token is added, or the model would never stop.
    assert fed(prepared, tokenizer) == ["[user] hi\n[assistant] yo\n</s>"]
    assert trained(prepared, tokenizer) == ["yo\n</s>"]
    assert tokenizer.chat_template == template


@pytest.mark.parametrize("begins", [False, True])
def test_a_base_model_gets_the_default_template_with_a_warning(data: ADataset, begins: bool) -> None:
    tokenizer = a_tokenizer(begins=begins)
    rows = [{"question": "hi", "answer": "yo"}]

    prepared = data.file("a.jsonl", rows).prepare("a.jsonl", tokenizer=tokenizer)

    assert fed(prepared, tokenizer) == [("<s>" if begins else "") + "### User:\nhi\n\n### Assistant:\nyo</s>"]
    assert trained(prepared, tokenizer) == ["yo</s>"]
    assert "no chat template" in prepared.warnings[0]
    turns = [{"role": "user", "content": "hi"}]
    assert tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True).endswith(
        "### User:\nhi\n\n### Assistant:\n"
    )


def test_a_raw_prompt_for_a_chat_model_is_warned_about(data: ADataset) -> None:
    prepared = data.file("a.jsonl", ROWS).prepare("a.jsonl", tokenizer=a_tokenizer(CHATML))

    assert "without the model's chat template" in prepared.warnings[0]


def test_tools_and_their_calls_reach_the_template(data: ADataset) -> None:
    template = (
        "{% if tools %}{{ tools[0].function.name }}|{% endif %}{% for m in messages %}{{ m.role }}: {{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments.x }}){% endfor %}<|im_end|>"
        "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    call = {"type": "function", "function": {"name": "add", "arguments": '{"x": 2}'}}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "four"},
    ]
    tools = [{"type": "function", "function": {"name": "add"}}]
    data.file("a.jsonl", [{"messages": messages, "tools": json.dumps(tools)}])
    tokenizer = a_tokenizer(template)

    prepared = data.prepare("a.jsonl", tokenizer=tokenizer)

    assert fed(prepared, tokenizer)[0].startswith("add|user: hi<|im_end|>assistant: add(2)<|im_end|>tool: 4")
    assert trained(prepared, tokenizer) == ["add(2)<|im_end|>four<|im_end|>"]
