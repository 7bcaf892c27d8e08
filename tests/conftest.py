"""What holds for all tests: which of them a run has, and how several processes share them out; holds no test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.sharing_out import FromBothEnds

RELEASES = {"FINETUNE_KUEUE": "Kueue", "FINETUNE_SCHEDULER_PLUGINS": "scheduler-plugins"}
"""Variables that name a release of another project, against which some tests run in addition."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what needs a release of another project that was not given."""
    left_out = [item for item in items if (mark := item.get_closest_marker("release")) and not _given(mark.args[0])]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what could be run in addition."""
    missing = [f"{project} ({variable})" for variable, project in RELEASES.items() if not _given(variable)]
    if missing:
        terminalreporter.write_line(f"not against releases of {', '.join(missing)}: see docs/queues.md")


def _given(variable: str) -> bool:
    return bool(os.environ.get(variable))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FromBothEnds | None:
    """Take files from both ends of the list where `--dist loadfile` is asked for, as `make test` does."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.sharing_out import FromBothEnds

    return FromBothEnds(config, log)
