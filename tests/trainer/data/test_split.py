"""What is held out is never trained on, whatever the order, the duplicates and the weights."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from finetune_trainer.data.mixing import mix
from finetune_trainer.data.split import Shares, assign
from finetune_trainer.errors import DataError
from tests.trainer.data.building import ADataset, a_tokenizer, claim, fed

KEYS = st.lists(st.text(max_size=3), min_size=1, max_size=60)
SHARES = st.builds(Shares, st.sampled_from([0.0, 0.01, 0.3, 0.49]), st.sampled_from([0.0, 0.01, 0.3, 0.5]))


@settings(max_examples=200)
@given(KEYS, SHARES, st.integers(0, 5))
def test_equal_keys_stay_together_each_side_has_some_and_training_is_never_empty(
    keys: list[str], shares: Shares, seed: int
) -> None:
    wanted = {"train"} | {side for side in ("validation", "test") if getattr(shares, side)}
    assume(len(set(keys)) >= len(wanted))

    sides = assign(keys, shares, seed)

    assert set(sides) == wanted
    assert len(set(zip(keys, sides, strict=True))) == len(set(keys))


@settings(max_examples=100)
@given(KEYS, SHARES, st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    keys: list[str], shares: Shares, seed: int, random: random.Random
) -> None:
    assume(len(set(keys)) >= 3)
    shuffled = random.sample(keys, len(keys))

    before = dict(zip(keys, assign(keys, shares, seed), strict=True))
    after = dict(zip(shuffled, assign(shuffled, shares, seed), strict=True))

    assert before == after


def test_appended_rows_leave_the_others_where_they_are() -> None:
    keys = [str(number) for number in range(500)]
    shares = Shares(0.1, 0.1)

    assert assign([*keys, "more"], shares, 7)[:500] == assign(keys, shares, 7)


def test_the_shares_are_about_those_asked_for_and_the_seed_matters() -> None:
    keys = [str(number) for number in range(4000)]

    sides = assign(keys, Shares(0.1, 0.2), 7)

    assert sides.count("validation") == pytest.approx(400, abs=80)
    assert sides.count("test") == pytest.approx(800, abs=110)
    assert sides != assign(keys, Shares(0.1, 0.2), 8)


def test_too_few_groups_are_an_error() -> None:
    with pytest.raises(DataError, match="validation and test would leave nothing"):
        assign(["a", "b"], Shares(0.1, 0.1), 0)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0.1, 10)), min_size=1, max_size=4),
    st.integers(0, 5),
)
def test_a_mixture_repeats_all_of_a_source_before_it_repeats_any_again(
    sources: list[tuple[int, float]], seed: int
) -> None:
    sizes, weights = [size for size, _ in sources], [weight for _, weight in sources]

    chosen = mix(sizes, weights, seed)

    for size, weight, positions in zip(sizes, weights, chosen, strict=True):
        times = [positions.count(position) for position in range(size)]
        assert max(times) - min(times) <= 1
        assert len(positions) == max(1, round(sum(sizes) * weight / sum(weights)))
    assert chosen == mix(sizes, weights, seed)


def test_without_weights_every_row_is_used_once() -> None:
    assert mix([2, 3], [None, None], 0) == [[0, 1], [0, 1, 2]]


def rows(start: int, stop: int) -> list[dict[str, str]]:
    return [{"text": f"row {number}"} for number in range(start, stop)]


def sides(data: ADataset, *paths: str) -> tuple[list[str], list[str], list[str]]:
    tokenizer = a_tokenizer()
    prepared = data.prepare(*paths, tokenizer=tokenizer)
    names = ("train", "validation", "test")
    found = [fed(prepared, tokenizer, side) if getattr(prepared, side) is not None else [] for side in names]
    return found[0], found[1], found[2]


def test_from_a_hundred_examples_on_a_twentieth_is_held_out_by_default(data: ADataset) -> None:
    data.file("a.jsonl", rows(0, 400)).file("b.jsonl", rows(0, 99))

    train, validation, test = sides(data, "a.jsonl")

    assert len(validation) == pytest.approx(20, abs=12)
    assert len(train) + len(validation) == 400
    assert test == []
    assert sides(data, "b.jsonl")[1] == []


def test_a_validation_share_of_zero_is_obeyed(data: ADataset) -> None:
    data.file("a.jsonl", rows(0, 400)).with_dataset(split={"validation": 0.0})

    assert sides(data, "a.jsonl")[1] == []


def test_the_split_is_the_same_when_the_file_is_reordered(data: ADataset) -> None:
    shuffled = random.Random(1).sample(rows(0, 200), 200)
    data.file("a.jsonl", rows(0, 200)).file("b.jsonl", shuffled).with_dataset(split={"validation": 0.2, "test": 0.1})

    assert [set(side) for side in sides(data, "a.jsonl")] == [set(side) for side in sides(data, "b.jsonl")]


def test_duplicates_in_other_words_of_case_and_space_fall_on_one_side(data: ADataset) -> None:
    twice = [row for number in range(60) for row in ({"text": f"row {number}"}, {"text": f"  ROW\t{number}\n"})]

    train, validation, test = sides(data.file("a.jsonl", twice).with_dataset(split={"validation": 0.3}), "a.jsonl")

    said = [{" ".join(text.removesuffix("</s>").lower().split()) for text in side} for side in (train, validation)]
    assert said[0].isdisjoint(said[1])
    assert len(train) + len(validation) + len(test) == 120


def test_groups_stay_together(data: ADataset) -> None:
    grouped = [{"text": f"row {number} of author {number % 10}", "author": number % 10} for number in range(200)]
    data.file("a.jsonl", grouped).with_dataset(groupBy="author", split={"validation": 0.3, "test": 0.2})

    authors = [{text.split()[-1] for text in side} for side in sides(data, "a.jsonl")]

    assert sum(map(len, authors)) == 10
    assert all(authors)


def test_held_out_sources_are_taken_out_of_training_with_a_warning(data: ADataset) -> None:
    data.file("a.jsonl", rows(0, 120)).file("v.jsonl", rows(110, 130)).file("t.jsonl", rows(0, 5))
    data.with_dataset(validation={"sources": [claim("v.jsonl")]}, test={"sources": [claim("t.jsonl")]})

    train, validation, test = sides(data, "a.jsonl")

    assert (len(train), len(validation), len(test)) == (105, 20, 5)
    assert set(train).isdisjoint([*validation, *test])
    assert any("15 training examples say the same" in line for line in data.prepare("a.jsonl").warnings)


def test_the_same_words_in_two_groups_do_not_leak(data: ADataset) -> None:
    grouped = [{"text": f"row {number % 20}", "author": number} for number in range(200)]
    data.file("a.jsonl", grouped).with_dataset(groupBy="author", split={"validation": 0.05})

    train, validation, _ = sides(data, "a.jsonl")

    assert set(train).isdisjoint(validation)


def test_maximum_examples_and_weights_are_counted_by_task(data: ADataset) -> None:
    data.file("a.jsonl", rows(0, 90)).file("b.jsonl", rows(100, 110))
    data.with_dataset(
        sources=[claim("a.jsonl", maxExamples=30, weight=1.0, task="a"), claim("b.jsonl", weight=3.0, task="b")]
    )

    prepared = data.prepare()

    assert prepared.counts == {"train": {"a": 10, "b": 30}}
    assert data.prepare().train[:] == prepared.train[:]


def test_cleaning_drops_normalises_and_counts(data: ADataset) -> None:
    texts = ["x", "the fox", "THE  fox", "cafe\u0301 au lait", "a" * 50, "row one two three four five six seven"]
    data.file("a.jsonl", [{"text": text} for text in texts])
    rules = {"dropDuplicates": True, "normalizeUnicode": True, "minCharacters": 2, "maxCharacters": 40, "maxTokens": 20}
    tokenizer = a_tokenizer()

    prepared = data.with_dataset(cleaning=rules).prepare("a.jsonl", tokenizer=tokenizer)

    assert fed(prepared, tokenizer) == ["the fox</s>", "caf\u00e9 au lait</s>"]
    for reason in ("shorter than 2 characters", "longer than 40 characters", "duplicates", "more than 20 tokens"):
        assert any("dropped 1 examples" in line and reason in line for line in prepared.warnings), reason
