"""A node prepares once: other processes and resumed runs read the same files, and changed data is noticed."""

from __future__ import annotations

import fcntl
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finetune_trainer.data.cache import obtain
from finetune_trainer.errors import DataError
from tests.trainer.data.building import CHATML, ADataset, a_tokenizer

ROWS = [{"question": f"how many is {number}", "answer": f"{number} of them"} for number in range(150)]


def entries(data: ADataset) -> list[Path]:
    return sorted(path for path in (data.root / "out/0123456789abcdef/cache/data").iterdir() if path.is_dir())


def test_a_second_call_reads_what_the_first_wrote(data: ADataset) -> None:
    data.file("a.jsonl", ROWS)
    first = data.prepare("a.jsonl")
    beats = len(data.heartbeats)
    (entry,) = entries(data)
    written = {path.name: path.stat().st_mtime_ns for path in entry.iterdir()}

    tokenizer = a_tokenizer()
    second = data.prepare("a.jsonl", tokenizer=tokenizer)

    assert {path.name: path.stat().st_mtime_ns for path in entry.iterdir()} == written
    assert len(data.heartbeats) == beats
    assert second.train[:] == first.train[:]
    assert second.train.cache_files[0]["filename"] == str(entry / "train.arrow")
    assert (second.fingerprint, second.warnings, second.sample, second.counts) == (
        first.fingerprint,
        first.warnings,
        first.sample,
        first.counts,
    )
    assert tokenizer.chat_template == first.chat_template is not None


@pytest.mark.parametrize("change", ["data", "length", "loss", "template", "seed"])
def test_whatever_changes_the_rows_makes_another_entry(data: ADataset, change: str) -> None:
    data.file("a.jsonl", ROWS).prepare("a.jsonl")

    if change == "data":
        data.file("a.jsonl", ROWS[:-1])
    if change == "loss":
        data.hyperparameters["loss"] = "All"
    if change == "seed":
        data.with_dataset(seed=3)
    template = CHATML if change == "template" else None
    data.prepare("a.jsonl", tokenizer=a_tokenizer(template), length=64 if change == "length" else 512)

    assert len(entries(data)) == 2


def test_the_fingerprint_is_that_of_the_rows_and_of_nothing_else(data: ADataset) -> None:
    data.file("a.jsonl", ROWS).file("same.json", str(ROWS).replace("'", '"')).file("other.jsonl", ROWS[:-1])

    fingerprint = data.prepare("a.jsonl").fingerprint

    assert data.prepare("a.jsonl", length=64).fingerprint == fingerprint
    assert data.prepare("same.json").fingerprint == fingerprint
    assert data.prepare("other.jsonl").fingerprint != fingerprint


def test_a_directory_of_its_own_can_be_named(data: ADataset, tmp_path: Path) -> None:
    data.file("a.jsonl", ROWS).prepare("a.jsonl", cache_directory=tmp_path / "elsewhere")

    assert (tmp_path / "elsewhere/data").is_dir()
    assert not (data.root / "out").exists()


def test_heartbeats_rise_while_working(data: ADataset) -> None:
    data.file("a.jsonl", ROWS * 20).prepare("a.jsonl")

    assert data.heartbeats == sorted(data.heartbeats)
    assert len(set(data.heartbeats)) >= 5


def test_a_failed_preparation_leaves_nothing_behind(data: ADataset) -> None:
    data.file("a.jsonl", '{"prompt": "a", "completion": "b"}\n{')

    with pytest.raises(DataError):
        data.prepare("a.jsonl")

    assert entries(data) == []


def test_an_entry_without_its_record_is_made_again(data: ADataset) -> None:
    first = data.file("a.jsonl", ROWS).prepare("a.jsonl")
    rows = first.train[:]
    (entry,) = entries(data)
    (entry / "meta.json").write_text("{")

    assert data.prepare("a.jsonl").train[:] == rows
    assert entries(data) == [entry]


def _work(directory: str, marks: str, number: int, results: Any) -> None:
    def build(place: Path) -> dict[str, Any]:
        Path(marks, str(number)).touch()
        (place / "file").write_text(str(number))
        return {"by": number}

    entry, record = obtain(Path(directory), "key", build)
    results.put((record["by"], (entry / "file").read_text()))


def test_of_several_processes_one_works_and_all_read_its_files(tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    arguments = (str(tmp_path / "cache"), str(tmp_path / "marks"))
    processes = [context.Process(target=_work, args=(*arguments, number, results)) for number in range(6)]

    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()

    assert len(list((tmp_path / "marks").iterdir())) == 1
    assert len(set(found)) == 1
    assert found[0][1] == str(found[0][0])


def test_a_process_that_waits_for_another_says_so_and_shows_no_life_of_its_own(tmp_path: Path) -> None:
    said = []
    with (tmp_path / "key.3.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        @contextmanager
        def waiting() -> Iterator[None]:
            said.append("waits")
            fcntl.flock(other, fcntl.LOCK_UN)
            yield
            said.append("goes on")

        obtain(tmp_path, "key", lambda place: {"by": said.copy()}, run=3, waiting=waiting)
    obtain(tmp_path, "key", lambda place: {}, run=3, waiting=waiting)
    assert said == ["waits", "goes on"], "once, and not where the entry is there"


def test_a_run_does_not_wait_for_an_older_one_that_was_cut_off_with_its_lock(tmp_path: Path) -> None:
    with (tmp_path / "key.3.lock").open("w") as older:
        fcntl.flock(older, fcntl.LOCK_EX)
        _, record = obtain(tmp_path, "key", lambda place: {"by": 4}, run=4, waiting=pytest.fail)
    assert record == {"by": 4}


def test_importing_the_package_loads_no_heavy_library() -> None:
    program = (
        "import sys, finetune_trainer.data\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'pyarrow', 'numpy') if name in sys.modules])"
    )

    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
