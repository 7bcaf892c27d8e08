"""The data of a job: reading, checking, splitting, masking and tokenising. Heavy libraries are imported when used."""

from .prepare import PreparedData, prepare

__all__ = ["PreparedData", "prepare"]
