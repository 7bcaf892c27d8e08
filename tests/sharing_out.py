"""Shares test files out to the workers of pytest-xdist, so that what computes runs beside what waits; runs none.

`make test` names tests/trainer first, whose processes compute, and tests/integration last, whose processes wait for an
API server most of the time. The first worker takes its files from the beginning of that list and all others from its
end, so that no control plane is started beside those of the others. Who is through with the rest helps with what the
first one has left, file by file, so that none ends long before the others.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController


class FromBothEnds(LoadFileScheduling):
    """Every file goes to one worker as a whole, since its tests share what is dear to make."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        config.option.loadscopereorder = False  # in the order of the command line, not by the number of tests
        super().__init__(config, log)

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a worker its next file: the last one left, and to the first worker the first one."""
        if node.gateway.id != "gw0":
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)
