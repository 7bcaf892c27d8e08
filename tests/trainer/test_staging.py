"""Checkpoints on their way: how much memory they may take, and that they leave nothing there."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from finetune_trainer import checkpoints, memory, staging


def test_no_more_memory_is_taken_than_the_container_may_have(tmp_path: Path) -> None:
    machine = tmp_path / "meminfo"
    machine.write_text("MemTotal: 16000 kB\nMemAvailable: 8000 kB\n")
    assert memory.available_bytes(tmp_path, machine) == 8_192_000
    for name, text in {
        "memory.max": "5000000", "memory.current": "4000000", "memory.stat": "anon 3\ninactive_file 500000\n"
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    assert memory.available_bytes(tmp_path, machine) == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes(tmp_path, machine) == 8_192_000


def test_what_is_written_to_memory_has_no_name_there(tmp_path: Path) -> None:
    def write(directory: Path) -> None:
        (directory / "below").mkdir()
        (directory / "below" / "file").write_bytes(b"content")

    name = f"finetune-test-{os.getpid()}"
    part = staging.write_in_memory(name, write)
    assert not list(staging.MEMORY.glob(f"*{name}"))
    (file,) = part.bring(tmp_path / "place", lambda _: None)
    assert (tmp_path / "place" / "below" / "file").read_bytes() == b"content"
    assert (file.path, file.bytes) == ("below/file", 7)
    assert checkpoints.digest_of(tmp_path / "place" / "below" / "file") == file.xxh3


def test_what_a_killed_process_left_in_memory_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    reader, writer = os.pipe()

    def write(directory: Path) -> None:
        (directory / "file").write_bytes(b"content")
        os.write(writer, b".")
        threading.Event().wait()

    name = f"finetune-test-{os.getpid()}"
    pid = os.fork()
    if pid == 0:
        staging.write_in_memory(name, write)
    os.read(reader, 1)
    staging.clear()
    (left,) = staging.MEMORY.glob(f"*{name}")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert left.is_dir()
    staging.clear()
    assert not left.exists()
