"""The trainer's errors: what a person can mend themselves is a UserError, everything else is a fault of ours."""

from __future__ import annotations

from pathlib import Path


class TrainerError(Exception):
    """The root: what ended an attempt."""


class UserError(TrainerError):
    """Wrong data, configuration or access: trying again without a change cannot help.

    `message` says what is wrong and where, `advice` what to write instead; the two are shown together.
    """

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message, advice)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".rstrip()


class ConfigError(UserError):
    """A setting that cannot work with this model, this data or this device."""


class ModelError(UserError):
    """The model or its tokenizer is missing, not readable, or not of the kind that the job asks for."""


class DataError(UserError):
    """A file of the data is missing or says something that cannot be used.

    `line` and `column` count from 1 and are put in front of the message together with the file, as compilers do.
    """

    def __init__(
        self,
        message: str,
        advice: str = "",
        *,
        file: str | Path | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        place = ":".join(str(part) for part in (file, line, column if line else None) if part is not None)
        super().__init__(f"{place}: {message}" if place else message, advice)
        self.file = None if file is None else str(file)
        self.line = line
        self.column = column


class DeviceUnavailable(TrainerError):  # noqa: N818  # named as the kind of end
    """The attempt asked for devices and sees none; another node may have them."""


class Diverged(TrainerError):  # noqa: N818  # named as the kind of end
    """The loss is no longer a finite number."""

    def __init__(self, step: int) -> None:
        super().__init__(f"The loss at step {step} is not a finite number.")
        self.step = step
        self.advice = (
            "Lower hyperparameters.learningRate (a tenth is a good first try), lengthen the warm-up, set "
            "maxGradNorm to 1.0, and use BF16 or FP32 instead of FP16."
        )


class FencedOff(TrainerError):  # noqa: N818  # a state, as Interrupted is
    """A newer run has claimed the directory: this one must not write any more."""

    def __init__(self, run: int, newer: int) -> None:
        super().__init__(f"Run {newer} has taken over from run {run}; run {run} ends without committing.")
        self.newer = newer


class Interrupted(BaseException):
    """SIGTERM has arrived. No Exception, so that no library swallows it while it tries something else."""
