"""Chooses how often each row of each source is used: maxExamples and weights. Knows nothing of what rows say."""

from __future__ import annotations

from collections.abc import Sequence

from .identity import draw


def choose(count: int, wanted: int, seed: int, name: str) -> list[int]:
    """`wanted` of the positions 0..count-1, in order; a draw by the seed that no other source changes."""
    if wanted >= count:
        return list(range(count))
    ranked = sorted(range(count), key=lambda position: (draw(seed, name, position), position))
    return sorted(ranked[:wanted])


def mix(sizes: Sequence[int], weights: Sequence[float | None], seed: int) -> list[list[int]]:
    """For each source the positions of its rows to use.

    Without any weight every row is used once. With weights (1 where a source has none) the mixture has as many rows as
    all sources together, shared out in proportion to the weights, at least one row of each. A source that gives more
    rows than it has repeats all of them equally often before a draw decides on the rest; one that gives fewer is
    drawn from without repetition.
    """
    if all(weight is None for weight in weights):
        return [list(range(size)) for size in sizes]
    effective = [
        (1.0 if weight is None else weight) if size else 0.0 for size, weight in zip(sizes, weights, strict=True)
    ]
    total, whole = sum(sizes), sum(effective)
    chosen = []
    for source, (size, weight) in enumerate(zip(sizes, effective, strict=True)):
        wanted = max(1, round(total * weight / whole)) if size else 0
        rounds, rest = divmod(wanted, size) if size else (0, 0)
        chosen.append([*list(range(size)) * rounds, *choose(size, rest, seed, f"mix-{source}")])
    return chosen
