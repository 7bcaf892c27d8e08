"""Numbers as people read them in a terminal."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """`42s`, `3m 05s`, `2h 04m`; `-` for None."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def size(count: int | None) -> str:
    """Bytes with a binary unit; `-` for None."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def measured(value: float | None) -> str:
    """A loss with four digits; `-` for None."""
    return "-" if value is None else f"{value:.4f}"
