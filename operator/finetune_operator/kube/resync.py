"""Lists everything now and then, beside the watches: what one of them never told is known then; decides nothing.

A watch that lost something on its way goes on as if nothing had happened. Without this a pause that a user asked for
could go unheard for ever.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import structlog

from .. import names
from ..errors import KubeError
from .client import ApiServer
from .protocol import FINE_TUNE_JOB, JOB, POD
from .watch import Intake, tell_all

_LABELS = {JOB: names.SELECTOR, POD: names.SELECTOR, FINE_TUNE_JOB: ""}
"""Children first: a job is looked at with what is known of them."""
_log = structlog.get_logger(__name__)


async def resync(server: ApiServer, intake: Intake, namespaces: Sequence[str | None], seconds: float) -> None:
    """Lists all kinds every so many seconds, until cancelled."""
    while True:
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))
        for kind, labels in _LABELS.items():
            for namespace in namespaces:
                try:
                    await tell_all(server, intake, kind, namespace, labels)
                except KubeError as error:
                    _log.warning("not everything could be listed", kind=kind.name, error=str(error))
