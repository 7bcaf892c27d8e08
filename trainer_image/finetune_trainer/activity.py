"""Signs of life in phases that count no work: imports, tokenising, loading a model, compiling kernels.

A thread looks whether the process computes or moves data. Only where nothing spins while it waits for another rank: not
in training, but for the compiler, whose frames on the main thread's stack tell that it is at work.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from .heartbeats import Heartbeat

INTERVAL_SECONDS = 2.0
# A process that polls while it is blocked stays far below either.
_BUSY_SHARE = 0.1
_MOVED_BYTES_PER_SECOND = 32 * 1024
_OPEN_STAGES = frozenset({"Starting", "LoadingData", "LoadingModel", "Finishing"})
# Where compilers work; other frames of theirs are on the stack whenever what they made runs.
_COMPILERS = {
    "torch/_dynamo/convert_frame.py": None,
    "torch/_inductor/compile_fx.py": {"compile_fx_inner", "_compile_fx_inner", "compile_fx_backward", "bw_compiler"},
    "torch/_inductor/runtime/triton_heuristics.py": {"benchmark_all_configs", "autotune_to_one_config", "precompile"},
    "triton/compiler/compiler.py": {"compile"},
    "triton/runtime/autotuner.py": {"_bench"},
}


def watch_work(heartbeat: Heartbeat) -> None:
    """Beats from now on, in a thread of its own, while this process is seen to work."""
    main_thread = threading.get_ident()

    def look() -> None:
        busy = _Busy()
        while True:
            _pause.wait(INTERVAL_SECONDS)
            at_work = busy.since_last_look()
            if at_work and (_is_open(heartbeat) or _compiles(sys._current_frames().get(main_thread))):
                heartbeat()

    threading.Thread(target=look, name="activity", daemon=True).start()


_pause = threading.Event()


def _is_open(heartbeat: Heartbeat) -> bool:
    """Whether this is a phase without signs of its own; before the loop a checkpoint is read, which may be large."""
    return heartbeat.stage in _OPEN_STAGES or (heartbeat.stage == "Training" and not heartbeat.in_loop)


class _Busy:
    """Whether this process and its children compute, or this process moves data."""

    def __init__(self) -> None:
        self._processor = _processor_seconds()
        self._bytes = _bytes_moved()

    def since_last_look(self) -> bool:
        processor, moved = _processor_seconds(), _bytes_moved()
        computed = processor - self._processor > _BUSY_SHARE * INTERVAL_SECONDS
        flowed = moved - self._bytes > _MOVED_BYTES_PER_SECOND * INTERVAL_SECONDS
        self._processor, self._bytes = processor, moved
        return computed or flowed


def _processor_seconds() -> float:
    """Of this process and of its living children: compilers work in those."""
    times = os.times()
    return times.user + times.system + sum(_child_seconds())


def _child_seconds() -> Iterator[float]:
    ticks = os.sysconf("SC_CLK_TCK")
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            for child in listing.read_text(encoding="ascii").split():
                # The name, in brackets, may hold anything; user and system time are fields 14 and 15.
                fields = Path("/proc", child, "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                yield (int(fields[11]) + int(fields[12])) / ticks
        except OSError:
            continue


def _bytes_moved() -> int:
    """Read and written by this process, from files, maps and sockets; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    fields = dict(line.split(": ") for line in lines)
    return sum(int(fields[name]) for name in ("rchar", "wchar", "read_bytes"))


def _compiles(frame: FrameType | None) -> bool:
    """Whether a compiler works on this stack: then no collective operation is what the thread waits in."""
    while frame is not None:
        code = frame.f_code
        for file, functions in _COMPILERS.items():
            if code.co_filename.endswith(file) and (functions is None or code.co_name in functions):
                return True
        frame = frame.f_back
    return False
