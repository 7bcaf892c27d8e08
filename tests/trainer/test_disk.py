"""What is on its way to the disk shows signs of life piece by piece, and what the disk refuses is said."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from finetune_trainer import disk

from .attempts import PATIENCE_SECONDS


@pytest.fixture
def a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of two pieces and a half."""
    monkeypatch.setattr(disk, "PIECE_BYTES", 4096)
    file = tmp_path / "file"
    file.write_bytes(b"x" * 10_240)
    return file


def test_each_piece_that_is_on_the_disk_is_a_sign_of_life(a_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring, happened = disk.bring_piece, list[tuple[str, int]]()

    def brought(descriptor: int, offset: int, length: int) -> None:
        bring(descriptor, offset, length)
        happened.append(("brought", offset))

    monkeypatch.setattr(disk, "bring_piece", brought)
    monkeypatch.setattr(os, "fsync", lambda _: happened.append(("synced", 0)))
    disk.sync_file(a_file, lambda amount: happened.append(("beat", amount)))
    assert happened == [
        ("brought", 0), ("beat", 4096), ("brought", 4096), ("beat", 4096), ("brought", 8192), ("beat", 2048),
        ("synced", 0), ("beat", 1),
    ]  # fmt: skip


def test_where_the_system_knows_no_pieces_the_file_is_synced_as_a_whole() -> None:
    for end in os.pipe():
        disk.bring_piece(end, 0, 4096)  # a pipe has none: ESPIPE
        os.close(end)
    with pytest.raises(OSError, match="Bad file descriptor"):
        disk.bring_piece(-1, 0, 4096)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_SECONDS_BETWEEN_LOOKS", 0.01)


def until_it_reaches(total: list[int], wanted: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while sum(total) < wanted:
        assert time.monotonic() < deadline, total
        time.sleep(0.01)


@pytest.mark.usefixtures("eager")
def test_what_a_library_writes_is_brought_to_the_disk_meanwhile_and_counted_once(a_file: Path) -> None:
    beats: list[int] = []
    with disk.beat_while_written(a_file.parent, beats.append):
        until_it_reaches(beats, 10_240)
        with a_file.open("ab") as file:
            file.write(b"y" * 1000)
        until_it_reaches(beats, 11_240)
    assert beats == [4096, 4096, 2048, 1000]


@pytest.mark.usefixtures("eager")
def test_what_the_disk_refuses_meanwhile_is_said_at_the_end(a_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(*_: int) -> None:
        asked.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "bring_piece", refuse)
    with pytest.raises(OSError, match="No space left"), disk.beat_while_written(a_file.parent, lambda _: None):
        until_it_reaches(asked, 1)
