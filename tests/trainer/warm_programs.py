"""Programs of ours as forks of a process that has other people's libraries loaded; what is ours they load anew.

Loading torch and transformers takes each rank five seconds of a core, ten times what the training of a test takes.
`WarmPopen` is `subprocess.Popen` but for that: `[python, "-m", "finetune_..."]` runs in a fork instead of a new image,
and so does what that program starts in the same way. Everything else is as after an exec: the environment, the
directory, the descriptors, the signals, the modules of this project, and being the child of the process that started
it. What a start itself must show is left to real processes.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import inspect
import logging
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase as Metric

_OURS = ("finetune_api", "finetune_cli", "finetune_operator", "finetune_trainer")
# The one step of Popen in which the program starts. Private, but its arguments have had the same names for ten years.
_START = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]


def load_libraries() -> None:
    """Loads what the programs need of other people's, once."""
    for module in ("finetune_cli.running.command", "finetune_trainer.supervisor", "finetune_trainer.worker"):
        importlib.import_module(module)


class WarmPopen(subprocess.Popen):  # type: ignore[type-arg]  # of text or bytes, as Popen itself
    """A Popen for which our programs are forked; all others start as they always do."""

    def _execute_child(self, *arguments: Any) -> None:
        given = _START.bind(self, *arguments).arguments
        module = module_of(given["args"])
        if module is None:
            super()._execute_child(*arguments)  # type: ignore[misc]  # private
            return
        # As Popen does: a signal that comes too early for the new program is not taken by a handler of the old one.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self.pid = os.fork()
        if self.pid == 0:
            _become(module, given, blocked)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self._child_created = True
        self._close_pipe_fds(  # type: ignore[attr-defined]  # private
            *(given[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite"))
        )


def module_of(command: Sequence[str] | str) -> str | None:
    """The module of ours that a command runs; None for any other command."""
    if isinstance(command, str) or list(command[:2]) != [sys.executable, "-m"]:
        return None
    return command[2] if command[2].partition(".")[0] in _OURS else None


def _become(module: str, given: dict[str, Any], blocked: set[signal.Signals | int]) -> NoReturn:
    """In the fork: leaves nothing of the process that it comes from but the libraries, and runs the program."""
    code = 70
    try:
        # Nothing that was there before may be found to be garbage: it would close descriptors that are another's now.
        gc.freeze()
        _take_descriptors(given)
        _forget_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if given["env"] is not None:
            os.environ.clear()
            os.environ.update(given["env"])
        if given["cwd"] is not None:
            os.chdir(given["cwd"])
        if given["start_new_session"]:
            os.setsid()
        if given["preexec_fn"] is not None:
            given["preexec_fn"]()
        _name(module)
        tempfile.tempdir = None
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)
        code = _run(module, list(given["args"][3:]))
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _take_descriptors(given: dict[str, Any]) -> None:
    faulthandler.disable()
    for number, name in enumerate(("p2cread", "c2pwrite", "errwrite")):
        if given[name] != -1:
            given[name] = os.dup(given[name])  # first out of the way, where it has a number that is to be replaced
            os.dup2(given[name], number)
    for descriptor in {int(name) for name in os.listdir("/dev/fd")} - {0, 1, 2, *given["pass_fds"]}:
        with suppress(OSError):  # the one of the list itself
            os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0, closefd=False), _writer(1), _writer(2)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr


def _writer(descriptor: int) -> Any:
    """By lines, as where PYTHONUNBUFFERED is set or for error output."""
    return os.fdopen(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _forget_signals() -> None:
    """As Python has them when it begins."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
        with suppress(OSError, ValueError):
            if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
                signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _name(module: str) -> None:
    """The command line of a fork is that of the process it comes from; its short name tells what it runs."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(module)


def _run(module: str, arguments: list[str]) -> int:
    """As `python -m` does; returns the exit code."""
    former = [sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in _OURS]
    _withdraw_metrics(former)
    subprocess.Popen = WarmPopen  # type: ignore[misc]  # in this process only
    sys.argv = [module, *arguments]
    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    del former
    if isinstance(code, int | None):
        return code or 0
    print(code, file=sys.stderr)
    return 1


def _withdraw_metrics(modules: Iterable[ModuleType]) -> None:
    """What modules of ours have entered into the registry of metrics: their successors enter it again."""
    metrics = {id(value): value for module in modules for value in vars(module).values() if isinstance(value, Metric)}
    for metric in metrics.values():
        REGISTRY.unregister(metric)
