"""Exactly what is meant to be learnt is learnt: proven by decoding labels."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_trainer.data.encoding import Encoder, blocks, windows
from finetune_trainer.data.masks import Rendered
from finetune_trainer.errors import DataError, UserError
from tests.trainer.data.building import CHATML, ADataset, a_tokenizer, fed, trained

TURNS = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": " four"},
]
FORGETFUL = (
    "{% for m in messages %}{{ m.role }}: {{ 'old ' if not loop.last and m.role == 'assistant' }}{{ m.content }}"
    "<|im_end|>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ m.role }}: {{ 'old ' if not loop.last and m.role == 'assistant' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}"
    "{{ m.content }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("loss", "learnt"),
    [
        (None, "two<|im_end|> four<|im_end|>"),
        ("Assistant", "two<|im_end|> four<|im_end|>"),
        ("Completion", " four<|im_end|>"),
    ],
)
def test_a_conversation_learns_the_turns_that_the_loss_names(data: ADataset, loss: str | None, learnt: str) -> None:
    data.hyperparameters.update({"loss": loss} if loss else {})
    tokenizer = a_tokenizer(CHATML)

    prepared = data.file("a.jsonl", [{"messages": TURNS}]).prepare("a.jsonl", tokenizer=tokenizer)

    assert trained(prepared, tokenizer) == [learnt]


def test_loss_all_learns_every_token(data: ADataset) -> None:
    data.hyperparameters["loss"] = "All"
    tokenizer = a_tokenizer(CHATML)

    prepared = data.file("a.jsonl", [{"messages": TURNS}]).prepare("a.jsonl", tokenizer=tokenizer)

    assert prepared.train[0]["labels"] == prepared.train[0]["input_ids"]


@pytest.mark.parametrize("begins", [False, True])
def test_the_tokens_before_an_answer_are_those_of_the_prompt_at_inference(data: ADataset, begins: bool) -> None:
    tokenizer = a_tokenizer(begins=begins)
    rows = [{"prompt": prompt, "completion": "fox jumps"} for prompt in ("the ", "the", "the\n", "a  ")]

    prepared = data.file("a.jsonl", rows).prepare("a.jsonl", tokenizer=tokenizer)

    for row, text in zip(prepared.train, rows, strict=True):
        prompt = tokenizer(text["prompt"])["input_ids"]
        assert row["input_ids"][: len(prompt)] == prompt
        assert row["labels"][: len(prompt)] == [-100] * len(prompt)
        assert row["labels"][len(prompt) :] == row["input_ids"][len(prompt) :]
        assert row["labels"][-1] == tokenizer.eos_token_id


def test_a_template_that_rewrites_earlier_turns_is_refused_with_the_ways_out(data: ADataset) -> None:
    data.file("a.jsonl", [{"messages": TURNS}])

    with pytest.raises(DataError, match="does not say where assistant turn 2 of row 1 lies") as raised:
        data.prepare("a.jsonl", tokenizer=a_tokenizer(FORGETFUL))

    assert "{% generation %}" in raised.value.advice


def test_a_template_with_generation_marks_says_itself_what_is_learnt(data: ADataset) -> None:
    tokenizer = a_tokenizer(MARKED)

    prepared = data.file("a.jsonl", [{"messages": TURNS}]).prepare("a.jsonl", tokenizer=tokenizer)

    assert trained(prepared, tokenizer) == ["two<|im_end|> four<|im_end|>"]
    assert "assistant: old two<|im_end|>" in fed(prepared, tokenizer)[0]


def test_a_template_that_refuses_a_conversation_names_the_row(data: ADataset) -> None:
    data.file("a.jsonl", [{"messages": TURNS}])

    with pytest.raises(DataError, match=r"^data/a\.jsonl:1: the chat template of the model refuses row 1: odd"):
        data.prepare("a.jsonl", tokenizer=a_tokenizer("{{ raise_exception('odd') }}"))


def test_a_syntax_error_in_a_template_is_the_users(data: ADataset) -> None:
    data.file("a.jsonl", [{"messages": TURNS}])

    with pytest.raises(UserError, match="the chat template of the model refuses"):
        data.prepare("a.jsonl", tokenizer=a_tokenizer("{% for %}"))


def test_long_examples_are_cut_and_counted_and_those_that_lose_their_answer_left_out(data: ADataset) -> None:
    rows = [{"prompt": "fox " * 40, "completion": "b"}, {"prompt": "a", "completion": "fox " * 40}]
    rows.append({"prompt": "a", "completion": "b"})

    prepared = data.file("a.jsonl", rows).prepare("a.jsonl", length=16)

    assert [len(row["input_ids"]) for row in prepared.train] == [16, 3]
    assert "2 examples are longer than 16 tokens and were cut" in prepared.warnings
    assert any(line.startswith("1 examples have nothing to learn") for line in prepared.warnings)


def test_the_sample_shows_what_is_learnt(data: ADataset) -> None:
    prepared = data.file("a.jsonl", [{"messages": TURNS}]).prepare("a.jsonl", tokenizer=a_tokenizer(CHATML))

    assert "<|im_start|>assistant\n«two<|im_end|>»\n<|im_start|>user\nthree<|im_end|>" in prepared.sample
    assert prepared.sample.endswith("«four<|im_end|>»") or prepared.sample.endswith("« four<|im_end|>»")


def test_plain_text_learns_everything_and_loses_nothing(data: ADataset) -> None:
    tokenizer = a_tokenizer()
    rows = [{"text": "the fox " * 30}, {"text": "short"}]

    prepared = data.file("a.jsonl", rows).prepare("a.jsonl", tokenizer=tokenizer, length=16)

    assert "".join(trained(prepared, tokenizer)) == "the fox " * 30 + "</s>short</s>"
    assert max(len(row["input_ids"]) for row in prepared.train) == 16
    # Examples are not joined in supervised tuning: a short text stays alone.
    assert fed(prepared, tokenizer)[-1] == "short</s>"


def test_pretraining_joins_documents_with_the_end_token_and_cuts_blocks(data: ADataset) -> None:
    data.method = "ContinuedPretraining"
    tokenizer = a_tokenizer()
    rows = [{"text": f"document {number} of the fox"} for number in range(9)]

    prepared = data.file("a.jsonl", rows).prepare("a.jsonl", tokenizer=tokenizer, length=16)

    lengths = [len(row["input_ids"]) for row in prepared.train]
    assert set(lengths[:-1]) == {16}
    assert "".join(fed(prepared, tokenizer)) == "".join(row["text"] + "</s>" for row in rows)
    assert all(row["labels"] == row["input_ids"] for row in prepared.train)


def test_a_long_text_file_can_be_split_and_ends_once(data: ADataset) -> None:
    data.method = "ContinuedPretraining"
    paragraphs = [f"paragraph {number}\n" + "the lazy dog\n" * 400 + "\n" for number in range(30)]
    tokenizer = a_tokenizer()

    whole = data.file("a.txt", "".join(paragraphs)).prepare("a.txt", tokenizer=tokenizer)
    assert "".join(fed(whole, tokenizer)) == "".join(paragraphs) + "</s>"

    data.with_dataset(split={"validation": 0.2})
    parts = data.prepare("a.txt", tokenizer=tokenizer)
    both = "".join(fed(parts, tokenizer)) + "".join(fed(parts, tokenizer, "validation"))
    assert sorted(both.replace("</s>", "").split("\n")) == sorted("".join(paragraphs).split("\n"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="<>"), max_size=12), min_size=1, max_size=6))
def test_whatever_the_text_its_learnt_pieces_decode_to_themselves(pieces: list[str]) -> None:
    tokenizer = _TOKENIZER
    spans, text = [], ""
    for number, piece in enumerate(pieces):
        if number % 2 and piece:
            spans.append((len(text), len(text) + len(piece)))
        text += piece
    wanted = "".join(text[begin:end] for begin, end in spans)

    (encoded,) = Encoder(tokenizer).encode([Rendered(text, tuple(spans), False, False)])

    assert tokenizer.decode(encoded.ids, clean_up_tokenization_spaces=False) == text
    learnt = [label for label in encoded.labels if label != -100]
    assert tokenizer.decode(learnt, clean_up_tokenization_spaces=False) == wanted
    assert list(windows(encoded, 3)) == list(blocks([encoded], 3))


_TOKENIZER = a_tokenizer()
