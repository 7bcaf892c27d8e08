"""Asks the volume of the results from process 1, which must not wait for it for ever; what is asked is others' matter.

A file server that has died refuses nothing: a call that looks at its files does not return, and nothing but the end of
the process takes it back. So the call is made in a thread, and process 1 stays able to hear and to say what goes on.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import TypeVar

from finetune_api.trainer_contract import EndKind

from .errors import TrainerError
from .termination import Termination

SECONDS_UNTIL_A_WARNING = 30.0
SECONDS_AFTER_SIGTERM = 5.0
"""Of silence, once the attempt was asked to end."""
_TICK = 0.5
# A supervisor that was itself stopped (a frozen container) must not take its own pause for that of the volume.
_LONGEST_LOOK_SECONDS = 5.0
_FRAMES = 4

Beat = Callable[[], None]
T = TypeVar("T")


class NoAnswer(TrainerError):  # noqa: N818  # a state, as FencedOff is
    """The volume does not answer; `kind` is what that makes of an attempt that has not begun."""

    def __init__(self, kind: EndKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.advice = (
            "See whether the storage behind the claim of the results can be reached from this node; raise "
            "retryPolicy.hangTimeoutSeconds if it was slow, not stuck."
        )


class Volume:
    """The volume of the results, as process 1 may ask it."""

    def __init__(self, root: Path, termination: Termination, warn: Callable[[str], None]) -> None:
        """`warn` is told once, when an answer is long in coming."""
        self._root = root
        self._termination = termination
        self._warn = warn
        self._warned = False

    def ask(self, work: Callable[[Beat], T], limit: Callable[[], float]) -> T:
        """What the work returns or raises. Raises NoAnswer after so many seconds (`limit`) in which it has neither
        ended nor called its argument, and soon after SIGTERM."""
        answer: Future[T] = Future()
        signs = [0]

        def beat() -> None:
            signs[0] += 1

        def run() -> None:
            try:
                answer.set_result(work(beat))
            except BaseException as error:
                answer.set_exception(error)

        asked = threading.Thread(target=run, name="volume", daemon=True)
        asked.start()
        silent, seen, looked = 0.0, 0, time.monotonic()
        while True:
            asked.join(_TICK)
            if answer.done():
                return answer.result()
            now = time.monotonic()
            silent = silent + min(now - looked, _LONGEST_LOOK_SECONDS) if signs[0] == seen else 0.0
            seen, looked = signs[0], now
            self._judge(silent, limit(), asked)

    def _judge(self, silent: float, limit: float, asked: threading.Thread) -> None:
        if self._termination.requested and silent > SECONDS_AFTER_SIGTERM:
            raise NoAnswer(EndKind.INTERRUPTED, f"SIGTERM while the {self._said(silent, asked)}: nothing was begun.")
        if silent > limit:
            raise NoAnswer(EndKind.HANG, f"The {self._said(silent, asked)}.")
        if silent > SECONDS_UNTIL_A_WARNING and not self._warned:
            self._warned = True
            self._warn(f"The {self._said(silent, asked)}")

    def _said(self, silent: float, asked: threading.Thread) -> str:
        silence = f"volume of the results ({self._root}) has not answered for {silent:.0f} s"
        frame = sys._current_frames().get(asked.ident or 0)
        frames = islice(traceback.walk_stack(frame), _FRAMES) if frame else ()
        stands = [f"{Path(f.f_code.co_filename).name}:{line} in {f.f_code.co_name}" for f, line in frames]
        return f"{silence}; it is asked in {' <- '.join(stands)}" if stands else silence
