"""The newest report of this attempt, as process 1 knows it, and on node 0 the server that shows it."""

from __future__ import annotations

import logging
from http.server import ThreadingHTTPServer
from pathlib import Path

from finetune_api.trainer_contract import AttemptRecord, ProgressReport, TrainerConfig

from . import endpoint
from .files import write_atomically
from .records import progress_path, read_progress
from .results import timestamp

logger = logging.getLogger("finetune_trainer.supervisor")


class Shown:
    """What can be said of an attempt from its first moment on; once ranks run, rank 0 says it."""

    def __init__(self, config: TrainerConfig, *, leads: bool) -> None:
        self._config = config
        self._leads = leads
        self._scratch: Path | None = None
        self._server: ThreadingHTTPServer | None = None
        self._last = ProgressReport(
            uid=config.job.uid, attempt=config.attempt, run=0, stage="Starting", updated_at=timestamp()
        )

    def report(self) -> ProgressReport:
        """The newest."""
        found = read_progress(self._scratch) if self._scratch is not None else None
        return found or self._last

    def warn(self, warning: str) -> None:
        """Says before there is a run what may keep it from coming."""
        logger.warning(warning)
        self._last = self._last.model_copy(
            update={"warnings": [*self._last.warnings, warning], "updated_at": timestamp()}
        )
        self.serve()

    def begin(self, scratch: Path, run: int, previous: AttemptRecord | None) -> None:
        """Leaves the first report where rank 0 goes on with it. `previous`: of a run that could not say it itself."""
        first = self._last.model_copy(update={"run": run, "previous": previous, "updated_at": timestamp()})
        write_atomically(progress_path(scratch), first.model_dump_json(by_alias=True, exclude_none=True))
        self._last, self._scratch = first, scratch

    def serve(self) -> None:
        """Starts the server on node 0, unless it is there."""
        port = self._config.progress_port
        if self._server is not None or not self._leads or not port:
            return
        try:
            self._server = endpoint.serve(self._config.progress_host, port, self.report)
        except OSError as error:
            logger.warning("No /progress: port %d: %s", port, error)

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
