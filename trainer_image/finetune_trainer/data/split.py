"""Decides which examples are held out. By content, never by position: files may grow and change their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import DataError
from .identity import draw

Side = Literal["train", "validation", "test"]
DEFAULT_VALIDATION = 0.05
FEWEST_FOR_DEFAULT = 100


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the groups that are held out, each in [0, 1)."""

    validation: float = 0.0
    test: float = 0.0


def assign(keys: Sequence[str], shares: Shares, seed: int) -> list[Side]:
    """The side of every example, given its key (content, or the value of groupBy): equal keys stay together.

    Each share that is asked for gets at least one key and training keeps at least one. Raises DataError where there
    are too few different keys for that.
    """
    wanted: list[Side] = [side for side in ("validation", "test") if getattr(shares, side) > 0]
    draws = sorted((draw(seed, "split", key), key) for key in set(keys))
    if wanted and len(draws) <= len(wanted):
        raise DataError(
            f"the data has {len(draws)} different example(s) or group(s); {' and '.join(wanted)} would leave nothing "
            "to train on.",
            "Add data, or set dataset.split to {validation: 0, test: 0}.",
        )
    sides = {key: _side(value, shares) for value, key in draws}
    ordered = [key for _, key in draws]
    for side in wanted:
        if side not in sides.values():
            # The lowest draws are nearest to being held out; the side that has most gives.
            giver = "train" if "train" in sides.values() else max(wanted, key=list(sides.values()).count)
            sides[next(key for key in ordered if sides[key] == giver)] = side
    if wanted and "train" not in sides.values():
        giver = max(wanted, key=list(sides.values()).count)
        sides[next(key for key in reversed(ordered) if sides[key] == giver)] = "train"
    return [sides[key] for key in keys]


def _side(value: float, shares: Shares) -> Side:
    if value < shares.validation:
        return "validation"
    return "test" if value < shares.validation + shares.test else "train"
