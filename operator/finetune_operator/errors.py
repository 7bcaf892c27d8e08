"""The operator's error tree, to be read in one screen; says what may go wrong, handles none of it.

OperatorError
    KubeError                   an answer of the API server that is no success
        NotFoundError           404
        AlreadyExistsError      409 to a create
        ConflictError           409 to anything else: a precondition (uid, resourceVersion) did not hold
        ForbiddenError          401, 403
        InvalidError            400, 422: the object is wrong; trying again does not help
        UnavailableError        429, 5xx, timeouts, no connection: try again
        ExpiredError            410: a resourceVersion is too old, list again
    CredentialsError            there is no way to reach a cluster
    NameTakenError              an object of the name that is wanted belongs to somebody else
    RefusedError                the API server will not take an object that is wanted: a quota, an admission policy, a
                                webhook that does not answer
    NoProgressError             a trainer gave no (valid) progress report
    LeaseLostError              another replica leads
    ConfigurationTooLargeError  the resolved job does not fit into a pod's environment
"""

from __future__ import annotations

WEBHOOK_FAILED = "failed calling webhook"
"""What the API server says where somebody who has a word in the admission, such as Kueue, does not answer."""


class OperatorError(Exception):
    """Everything that the operator raises on purpose."""


class KubeError(OperatorError):
    """An answer of the API server that is no success."""

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        """Seconds that the server asked to wait."""


class NotFoundError(KubeError):
    """There is no such object."""


class AlreadyExistsError(KubeError):
    """An object of that name is there already."""


class ConflictError(KubeError):
    """A precondition did not hold: another uid or resourceVersion."""


class ForbiddenError(KubeError):
    """The credentials do not allow this."""


class InvalidError(KubeError):
    """The server refused the object itself."""


class UnavailableError(KubeError):
    """The server did not answer, or asked to come back later."""


class ExpiredError(KubeError):
    """The resourceVersion or the continuation of a list is too old."""


class CredentialsError(OperatorError):
    """There is no way to reach a cluster; the message says what was tried."""


class NameTakenError(OperatorError):
    """An object that the operator wanted to make is there, and is somebody else's or not what the job needs."""

    def __init__(self, message: str, passing: bool, reason: str = "NameConflict") -> None:
        super().__init__(message)
        self.passing = passing
        """It is being deleted."""
        self.reason = reason
        """One word for the status."""


class RefusedError(OperatorError):
    """The API server will not take an object that the operator wanted to make; it may, later."""

    @property
    def reason(self) -> str:
        """For conditions, as one word."""
        if WEBHOOK_FAILED in str(self):
            return "AdmissionUnavailable"
        return "QuotaExceeded" if "exceeded quota" in str(self) else "AdmissionRefused"


class NoProgressError(OperatorError):
    """A trainer gave no progress report, or one that is not to be believed."""


class LeaseLostError(OperatorError):
    """Another replica leads, or the Lease could not be renewed in time."""


class ConfigurationTooLargeError(OperatorError):
    """The resolved job does not fit into a pod's environment."""
