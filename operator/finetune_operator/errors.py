"""The operator's error tree, to be read in one screen; says what may go wrong, handles none of it.

OperatorError
    KubeError               an answer of the API server that is no success
        NotFound            404
        AlreadyExists       409 to a create
        Conflict            409 to anything else: a precondition (uid, resourceVersion) did not hold
        Forbidden           401, 403
        Invalid             400, 422: the object is wrong; trying again does not help
        Unavailable         429, 5xx, timeouts, no connection: try again
    NoProgress              a trainer gave no (valid) progress report
    LeaseLost               another replica leads
    ConfigurationTooLarge   the resolved job does not fit into a pod's environment
"""

from __future__ import annotations


class OperatorError(Exception):
    """Everything that the operator raises on purpose."""


class KubeError(OperatorError):
    """An answer of the API server that is no success."""

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        """Seconds that the server asked to wait."""


class NotFound(KubeError):
    """There is no such object."""


class AlreadyExists(KubeError):
    """An object of that name is there already."""


class Conflict(KubeError):
    """A precondition did not hold: another uid or resourceVersion."""


class Forbidden(KubeError):
    """The credentials do not allow this."""


class Invalid(KubeError):
    """The server refused the object itself."""


class Unavailable(KubeError):
    """The server did not answer, or asked to come back later."""


class NoProgress(OperatorError):
    """A trainer gave no progress report, or one that is not to be believed."""


class LeaseLost(OperatorError):
    """Another replica leads, or the Lease could not be renewed in time."""


class ConfigurationTooLarge(OperatorError):
    """The resolved job does not fit into a pod's environment."""
