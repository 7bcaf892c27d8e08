"""What holds for all tests: how they are shared out when several processes run them; holds no test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.sharing_out import FromBothEnds


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FromBothEnds | None:
    """Take files from both ends of the list where `--dist loadfile` is asked for, as `make test` does."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.sharing_out import FromBothEnds

    return FromBothEnds(config, log)
