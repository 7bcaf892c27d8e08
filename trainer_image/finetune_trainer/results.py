"""The directory of a fingerprint on the volume: its layout, what is claimed there, and whether it is complete.

Imports no torch: the supervisor looks here before anything heavy is loaded.
"""

from __future__ import annotations

import errno
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetune_api.trainer_contract import RunRecord, TrainerConfig

from .errors import ConfigError

# A directory that is another user's, read-only, or has a file in the way: waiting does not mend it.
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)


def timestamp() -> str:
    """Now, as RFC 3339 in UTC with seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Results:
    """The paths below `<volume>/<job>/<fingerprint>/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run_record = root / "run.json"
        self.runs = root / "runs"
        self.work = root / "work"
        self.checkpoints = root / "checkpoints"
        self.output = root / "output"
        self.report = self.output / "report.json"
        self.logs = root / "logs"
        self.metrics = self.logs / "metrics.jsonl"
        self.cache = root / "cache"

    @classmethod
    def of(cls, config: TrainerConfig) -> Results:
        return cls(Path(config.mounts.output) / config.fingerprint)

    def create(self) -> None:
        """Makes the directories. Raises ConfigError where the volume does not let us, OSError where it is full or does
        not answer: trying again may help there."""
        try:
            for directory in (self.runs, self.work, self.checkpoints, self.logs, self.cache):
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise
            raise ConfigError(
                f"{self.root} cannot be made: {error.strerror}.",
                "The storage claim must be writable for the trainer's user: see podTemplate.securityContext.fsGroup.",
            ) from error

    def complete_report(self) -> dict[str, Any] | None:
        """The report of a complete output, or None."""
        try:
            report: dict[str, Any] = json.loads(self.report.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return report

    def read_run_record(self) -> RunRecord | None:
        """What the first attempt resolved, or None where there was none yet."""
        try:
            return RunRecord.load(self.run_record.read_bytes())
        except FileNotFoundError:
            return None


def is_full(error: BaseException) -> bool:
    """Whether a file system, or a quota of it, has no room left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def newest_run(results: Results) -> int:
    """The highest run number that was claimed; 0 where there is none."""
    return max((int(path.name) for path in results.runs.iterdir() if path.name.isdecimal()), default=0)


def read_claim(path: Path) -> dict[str, Any]:
    """What the holder of a claim wrote into it; empty where it was killed before it could."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def has_begun_afresh(results: Results, run: int, uid: str) -> bool:
    """Whether a run of this job, before this one, has put away what earlier jobs left.

    A deleted and created job has another uid; a run that was killed on the way has not done it.
    """
    earlier = (read_claim(results.runs / str(number)) for number in range(1, run))
    return any(claim.get("uid") == uid and claim.get("afresh") for claim in earlier)
