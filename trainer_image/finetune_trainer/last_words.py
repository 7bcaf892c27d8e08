"""The lines of a dead rank's error output that say what it died of. Pure; reads no files."""

from __future__ import annotations

import re
from collections.abc import Sequence

KEPT_LINES = 400
_LINES, _CHARACTERS = 3, 600

# What stands for a cause, the surest first.
_CAUSES = tuple(
    re.compile(pattern)
    for pattern in (
        r"what\(\):|Assertion .* failed|panicked at|ncclSystemError|Xid",
        r"terminate called|Fatal Python error",
        r"^\s*[A-Za-z_.]*(Error|Exception|Interrupt|Exit)\b\s*(:|$)",
        r"(?i)\b(error|fatal|abort|assert|killed|out of memory|segmentation fault|bus error)",
    )
)
# What the others' libraries write when a peer has gone, and what is said at any end.
_NOISE = re.compile(
    r"NCCL (INFO|WARN)|Watchdog|ProcessGroup(NCCL|Gloo)|TCPStore|Rendezvous|resource_tracker|leaked semaphore|"
    r"(?i:connection (closed|reset) by peer|broken pipe|FutureWarning|UserWarning|DeprecationWarning)"
)
_PREFIX = re.compile(r"^\S+ \S+ (DEBUG|INFO|WARNING|ERROR|CRITICAL) rank \d+: ")


def last_words(lines: Sequence[str]) -> str:
    """At most three lines, from the last place that looks like a cause; the very last line where none does; empty
    where nothing was said."""
    spoken = [_PREFIX.sub("", line).rstrip() for line in lines if line.strip()]
    telling = [index for index, line in enumerate(spoken) if not _NOISE.search(line)]
    for cause in _CAUSES:
        found = [index for index in telling if cause.search(spoken[index])]
        if found:
            return _cut(_together(spoken, telling, found[-1]))
    return _cut([spoken[telling[-1]]]) if telling else ""


def _together(spoken: Sequence[str], telling: Sequence[int], at: int) -> list[str]:
    """The line and what belongs to it: what was thrown stands in front of `what():`, a stack behind a fatal error."""
    lines = [spoken[at].strip()]
    if "what():" in lines[0] and at > 0 and "terminate called" in spoken[at - 1]:
        lines.insert(0, spoken[at - 1].strip())
    if "Fatal Python error" in lines[0]:
        later = [spoken[index].strip() for index in telling if index > at]
        crashed = next((index for index, line in enumerate(later) if line.startswith("Current thread")), 0)
        lines += [line for line in later[crashed:] if line.startswith("File ")]
    return lines[:_LINES]


def _cut(lines: Sequence[str]) -> str:
    text = " | ".join(lines)
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 2].rstrip() + " …"
