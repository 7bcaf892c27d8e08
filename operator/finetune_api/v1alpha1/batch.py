"""How the examples of an optimizer step are shared out among processes; what fits into memory is not known here."""

from __future__ import annotations


def share(effective: int, processes: int, at_most: int) -> tuple[int, int] | None:
    """Device batch (at most `at_most`) and accumulation that keep the effective batch, or None where none does."""
    fitting = [size for size in range(1, at_most + 1) if effective % (size * processes) == 0]
    return (fitting[-1], effective // (fitting[-1] * processes)) if fitting else None
