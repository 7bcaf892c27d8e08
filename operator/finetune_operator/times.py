"""Moments as Kubernetes writes them (RFC 3339, UTC, whole seconds); reads no clock but `now`."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


def parse(text: str | None) -> datetime | None:
    """The moment that a Kubernetes object says, or None where it says none."""
    return datetime.fromisoformat(text) if text else None


def text(moment: datetime) -> str:
    """The moment as metav1.Time: seconds, with a Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_text(moment: datetime) -> str:
    """The moment as metav1.MicroTime, which Leases and events have."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def duration_text(seconds: float) -> str:
    """A duration for a person: `45s`, `12m`, `3h20m`, `2d4h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if hours else f"{days}d"
