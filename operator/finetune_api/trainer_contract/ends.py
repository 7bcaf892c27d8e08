"""How an attempt ended: its kind in words, and as an exit code."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class EndKind(StrEnum):
    """How an attempt ended, as the supervisor says it."""

    FINISHED = "Finished"
    USER_ERROR = "UserError"
    DEVICE_OUT_OF_MEMORY = "DeviceOutOfMemory"
    HOST_OUT_OF_MEMORY = "HostOutOfMemory"
    DIVERGED = "Diverged"
    INTERRUPTED = "Interrupted"
    HANG = "Hang"
    DEVICE_UNAVAILABLE = "DeviceUnavailable"
    INTERNAL_ERROR = "InternalError"


class ExitCode(IntEnum):
    """The supervisor's exit codes; one for each kind of end."""

    FINISHED = 0
    INTERNAL_ERROR = 1
    USER_ERROR = 10
    DEVICE_OUT_OF_MEMORY = 11
    HOST_OUT_OF_MEMORY = 12
    DIVERGED = 13
    INTERRUPTED = 14
    HANG = 15
    DEVICE_UNAVAILABLE = 16

    @property
    def kind(self) -> EndKind:
        return EndKind[self.name]

    @classmethod
    def of(cls, kind: EndKind) -> ExitCode:
        return cls[kind.name]
