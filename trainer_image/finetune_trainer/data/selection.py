"""From the examples of all sources to those of training, validation and test. Tokens come after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from finetune_api.v1alpha1.dataset import Cleaning, Split

from ..errors import DataError
from .cleaning import clean
from .identity import content_key
from .mixing import choose, mix
from .rows import Example
from .sources import SourceExamples
from .split import DEFAULT_VALIDATION, FEWEST_FOR_DEFAULT, Shares, Side, assign

SIDES: tuple[Side, ...] = ("train", "validation", "test")


@dataclass(slots=True)
class Selection:
    """The examples of each side, in their order, with what a person should know about them."""

    sides: dict[Side, list[Example]] = field(default_factory=lambda: {side: [] for side in SIDES})
    tasks: dict[Side, Counter[str]] = field(default_factory=lambda: {side: Counter() for side in SIDES})
    warnings: list[str] = field(default_factory=list)


def select(
    training: Sequence[SourceExamples],
    held_out: dict[Side, list[SourceExamples]],
    *,
    cleaning: Cleaning | None,
    split: Split | None,
    seed: int,
) -> Selection:
    """Cleans, limits, splits and mixes. Raises DataError where nothing is left to train on.

    Whatever is held out, by a share or by a source of its own, is never trained on: examples that say the same are
    taken out of training.
    """
    selection = Selection()
    for sources in (training, *held_out.values()):
        seen: set[str] = set()
        for number, source in enumerate(sources):
            _clean(source, cleaning, seen, selection.warnings)
            name = f"maximum-{number}"
            positions = choose(len(source.examples), source.maximum or len(source.examples), seed, name)
            source.examples = [source.examples[position] for position in positions]
    sides = _split(training, _shares(training, held_out, split, selection.warnings), seed)
    for side, sources in held_out.items():
        sides[side] = [source.examples for source in sources]
    _keep_apart(sides, selection.warnings)
    for side in SIDES:
        named = held_out.get(side, training)
        weights = [source.weight for source in named] if side == "train" or side in held_out else [None] * len(named)
        chosen = mix([len(examples) for examples in sides[side]], weights, seed)
        for source, examples, positions in zip(named, sides[side], chosen, strict=True):
            selection.sides[side] += [_alone(examples, positions, index) for index in range(len(positions))]
            if positions:
                selection.tasks[side][source.name] += len(positions)
    if not selection.sides["train"]:
        raise DataError("no example is left to train on.", "Loosen dataset.cleaning, or add data.")
    return selection


def _clean(source: SourceExamples, rules: Cleaning | None, seen: set[str], warnings: list[str]) -> None:
    if source.empty and source.first_empty is not None:
        place = f"{source.first_empty.file} row {source.first_empty.row}"
        warnings.append(f"{source.empty} rows of {source.name} have nothing to learn and are left out (first: {place})")
    source.examples, dropped = clean(source.examples, rules, seen)
    for reason, count in dropped.items():
        warnings.append(f"cleaning dropped {count} examples of {source.name}: {reason}")


def _shares(
    training: Sequence[SourceExamples],
    held_out: dict[Side, list[SourceExamples]],
    split: Split | None,
    warnings: list[str],
) -> Shares:
    examples = [example for source in training for example in source.examples]
    test = (split.test if split else None) or 0.0
    validation = split.validation if split else None
    if validation is None:
        different = len({_key(example) for example in examples})
        by_default = "validation" not in held_out and len(examples) >= FEWEST_FOR_DEFAULT
        validation = DEFAULT_VALIDATION if by_default and different > 1 + (test > 0) else 0.0
        if by_default and not validation:
            warnings.append("no validation split: all examples say the same, or are of one group")
    return Shares(0.0 if "validation" in held_out else validation, 0.0 if "test" in held_out else test)


def _key(example: Example) -> str:
    return content_key(example) if example.group is None else f"group {example.group}"


def _split(training: Sequence[SourceExamples], shares: Shares, seed: int) -> dict[Side, list[list[Example]]]:
    """For each side the examples of each source. A piece of a text knows whether its successor is on the same side."""
    everything = [example for source in training for example in source.examples]
    assigned = iter(assign([_key(example) for example in everything], shares, seed))
    sides: dict[Side, list[list[Example]]] = {side: [[] for _ in training] for side in SIDES}
    for number, source in enumerate(training):
        own = [next(assigned) for _ in source.examples]
        for position, (example, side) in enumerate(zip(source.examples, own, strict=True)):
            if example.continues and own[position + 1 : position + 2] != [side]:
                example = replace(example, continues=False)
            sides[side][number].append(example)
    return sides


def _keep_apart(sides: dict[Side, list[list[Example]]], warnings: list[str]) -> None:
    held = {content_key(example) for side in ("validation", "test") for examples in sides[side] for example in examples}
    if not held:
        return
    before = sum(map(len, sides["train"]))
    sides["train"] = [[one for one in examples if content_key(one) not in held] for examples in sides["train"]]
    if leaked := before - sum(map(len, sides["train"])):
        warnings.append(f"{leaked} training examples say the same as held-out ones and are left out")


def _alone(examples: Sequence[Example], positions: Sequence[int], index: int) -> Example:
    """A piece of a text ends where the next one that is used does not follow it."""
    example = examples[positions[index]]
    if example.continues and positions[index + 1 : index + 2] != [positions[index] + 1]:
        return replace(example, continues=False)
    return example
