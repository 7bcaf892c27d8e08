"""The CLI's error tree and exit codes: what a command tells the shell; prints nothing itself.

CliError                    shown as one message, ends with its own exit code
    ManifestError           the file is no readable YAML, or holds no job                      3
    RefusedJobError              the job is not valid, or asks for what is not there yet            3
    CannotStartError             something the job needs on this machine is missing or in use       4
    NoSuchJobError               there is no job of that name                                       6
    EndedError                   the job has ended, and that is for good                            7
    ClusterError                 the cluster cannot be reached, or does not allow it                8
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What scripts can rely on."""

    SUCCEEDED = 0
    """Everything asked for is done; for `run`: the job succeeded, now or before."""
    FAILED = 1
    """The job failed."""
    USAGE = 2
    """The command line itself is wrong."""
    INVALID = 3
    """A manifest is wrong, or asks for what this version cannot do."""
    CANNOT_START = 4
    """A directory for a claim is missing, or another run works on the same results."""
    NOT_FINISHED = 5
    """The job was left suspended or cancelled by its own manifest."""
    NO_SUCH_JOB = 6
    """There is no job of that name where it was looked for."""
    ENDED = 7
    """The job has ended, so that it can be neither paused nor resumed nor cancelled."""
    NO_CLUSTER = 8
    """No kubeconfig, no answer, or the cluster does not allow it."""
    INTERRUPTED = 130
    """Ctrl-C or SIGTERM; the same command continues."""


class CliError(Exception):
    """A message for a person; never shown with a traceback."""

    code = Exit.FAILED

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ManifestError(CliError):
    """The file cannot be read as a manifest. `line` counts from 1."""

    code = Exit.INVALID

    def __init__(self, message: str, file: str = "", line: int | None = None) -> None:
        place = ":".join(str(part) for part in (file, line) if part)
        super().__init__(f"{place}: {message}" if place else message)


class RefusedJobError(CliError):
    """A job that is read, but not taken."""

    code = Exit.INVALID


class CannotStartError(CliError):
    """The job is right, this machine is not ready for it."""

    code = Exit.CANNOT_START


class NoSuchJobError(CliError):
    """There is no job of that name in this namespace, or on this machine."""

    code = Exit.NO_SUCH_JOB


class EndedError(CliError):
    """Terminal is terminal: nothing can be asked of the job any more."""

    code = Exit.ENDED


class ClusterError(CliError):
    """There is no way to the cluster, or it refuses the person."""

    code = Exit.NO_CLUSTER
