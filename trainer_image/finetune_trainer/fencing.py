"""The claim of a run on a job's directory: through it goes every change that another run can see. No torch.

Each run has a workspace of its own, `work/<run>`. What it writes, it writes there; what it commits, it renames out of
there; what it deletes, it renames into there first. A newer run puts a file in the place of each older workspace before
it looks at anything, and from then on every one of those renames fails: between a check and the act that it allows, an
older writer may sleep as long as it likes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from finetune_api.trainer_contract import AttemptRecord, TrainerConfig

from .errors import FencedOff
from .files import sync_directory, write_atomically
from .results import Results, newest_run, read_claim, timestamp

# A writer that is still at work may put a file into a directory between its emptying and its removal.
_LONGEST_REMOVAL_SECONDS = 60.0


class RunClaim:
    """The exclusive claim of a run number; whoever holds the highest is the only one who may commit."""

    def __init__(self, results: Results, number: int) -> None:
        self._results = results
        self.number = number
        self.path = results.runs / str(number)
        self.workspace = results.work / str(number)

    @classmethod
    def take(cls, results: Results, config: TrainerConfig, beat: Callable[[], None] = lambda: None) -> RunClaim:
        """Claims the next free number and fences all older runs off. Raises FencedOff where a newer one came at once,
        OSError where the volume takes no more. `beat`: called with each piece of what may take long."""
        text = json.dumps({
            "uid": config.job.uid, "attempt": config.attempt, "host": socket.gethostname(), "startedAt": timestamp()
        })  # fmt: skip
        number = newest_run(results) + 1
        while True:
            try:
                descriptor = os.open(results.runs / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                number += 1
                continue
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            break
        claim = cls(results, number)
        try:
            claim.workspace.mkdir()
        except FileExistsError:
            claim.check()
            raise
        # In this order: a newer run that has not seen this workspace has claimed its number before this look.
        claim.check()
        claim._fence_off_older_runs(beat)
        return claim

    def check(self) -> None:
        """Raises FencedOff where a newer run has claimed the directory."""
        newest = newest_run(self._results)
        if newest > self.number or not self.workspace.is_dir():
            raise FencedOff(self.number, newest)

    @contextlib.contextmanager
    def fenced(self) -> Iterator[None]:
        """Within, the error of whatever needs a workspace that has gone becomes FencedOff."""
        try:
            yield
        except OSError:
            self.check()
            raise

    def commit(self, made: Path, place: Path) -> None:
        """Moves a file or directory out of the workspace to its place, and replaces what is there. Raises FencedOff or
        OSError."""
        replaced = self.workspace / f"replaced-{place.name}"
        with self.fenced():
            if place.is_dir():
                os.rename(place, replaced)
            os.rename(made, place)
        sync_directory(place.parent)
        shutil.rmtree(replaced, ignore_errors=True)

    def discard(self, path: Path) -> None:
        """Deletes a file or directory that other runs see; one that is not there is no trouble. Raises FencedOff."""
        kept = self.workspace / f"discarded-{path.name}"
        shutil.rmtree(kept, ignore_errors=True)
        with self.fenced(), contextlib.suppress(FileNotFoundError):
            os.rename(path, kept)
        shutil.rmtree(kept, ignore_errors=True)
        with self.fenced():
            kept.unlink(missing_ok=True)
        self.check()

    def set_aside(self, path: Path, name: str) -> None:
        """Gives a directory that other runs see another name beside it. Raises FencedOff or OSError."""
        moved = self.workspace / name
        self.discard(path.with_name(name))
        with self.fenced():
            os.rename(path, moved)
        self.commit(moved, path.with_name(name))

    def write(self, path: Path, text: str) -> None:
        """Replaces a file that other runs see, durably. Raises FencedOff or OSError."""
        self.replace(path, text.encode()).close()

    def replace(self, path: Path, content: bytes) -> IO[bytes]:
        """Replaces a file that other runs see, and returns it open for more at its end.

        Whoever replaces it later leaves this file without a name: what is then written to it, nobody reads. Raises
        FencedOff or OSError.
        """
        made = self.workspace / path.name
        with self.fenced():
            made.write_bytes(content)
            # Without a buffer: a line that the disk refuses must not come back with the next one.
            file = made.open("ab", buffering=0)
        try:
            os.fsync(file.fileno())
            self.commit(made, path)
        except BaseException:
            file.close()
            raise
        return file

    def record_end(self, record: AttemptRecord) -> None:
        """Keeps the record beside the claim, for the next run and for people."""
        self.note(record=record.dump())

    def note(self, **fields: Any) -> None:
        """Adds to what is written in the claim, which no other run writes."""
        write_atomically(self.path, json.dumps({**read_claim(self.path), **fields}))

    def close(self) -> None:
        """Takes the workspace away once nothing is to be written any more."""
        shutil.rmtree(self.workspace, ignore_errors=True)

    def _fence_off_older_runs(self, beat: Callable[[], None]) -> None:
        work = self._results.work
        for older in (int(path.name) for path in self._results.runs.iterdir() if path.name.isdecimal()):
            if older < self.number:
                _entomb(work / str(older), work / f"fenced-{older}", beat)


def _entomb(workspace: Path, away: Path, beat: Callable[[], None]) -> None:
    """Puts a file where the workspace was: libraries that make missing directories must not make it again."""
    while not workspace.is_file():
        # From here on nothing is committed out of it.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.rename(workspace, away)
        _remove(away, beat)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(workspace, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def _remove(directory: Path, beat: Callable[[], None]) -> None:
    """Removes a directory that somebody may still be writing into.

    Its removal fences a writer off who knows it by a handle and not by its name, as NFS clients do.
    """
    deadline = time.monotonic() + _LONGEST_REMOVAL_SECONDS
    while directory.exists() and time.monotonic() < deadline:
        try:
            _remove_tree(directory, beat)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                return  # another user's: under its new name it is harmless
            time.sleep(0.05)


def _remove_tree(directory: Path, beat: Callable[[], None]) -> None:
    """`shutil.rmtree` that says of each thing in it that it moves: with what a killed run had begun to save this takes
    minutes on a slow volume."""
    beat()
    for parent, directories, files in os.walk(directory, topdown=False):
        for name in files:
            os.unlink(os.path.join(parent, name))
            beat()
        for name in directories:
            path = os.path.join(parent, name)
            (os.unlink if os.path.islink(path) else os.rmdir)(path)
            beat()
    os.rmdir(directory)
