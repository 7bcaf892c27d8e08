"""Data sets from the hub are pinned to a commit, and what is wrong is the user's or worth another attempt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.data.hub import BROKEN, COMMIT, ID, TOKEN, a_hub

REPOSITORY = Path(__file__).parents[3]
Prepare = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    files = tmp_path_factory.mktemp("files")
    for name, word in (("train.jsonl", "jumps"), ("test.jsonl", "sleeps")):
        (files / name).write_text(json.dumps({"prompt": "the fox ", "completion": word}) + "\n")
    with a_hub(files) as served:
        yield served


@pytest.fixture(scope="module")
def prepare(hub: tuple[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepare]:
    """One process for all tests: importing the libraries takes longer than they do."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub[0],
        "HF_HOME": str(tmp_path_factory.mktemp("home")),
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(REPOSITORY),
    }
    program = [sys.executable, "-m", "tests.trainer.data.hub_program"]
    process = subprocess.Popen(
        program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert process.stdin is not None
    assert process.stdout is not None
    asked, answered = process.stdin, process.stdout

    def ask(root: Path, source: dict[str, Any], token: str = TOKEN, **revisions: str) -> dict[str, Any]:
        request = {"root": str(root), "source": source, "token": token, "revisions": revisions}
        print(json.dumps(request), file=asked, flush=True)
        found: dict[str, Any] = json.loads(answered.readline())
        return found

    yield ask
    asked.close()
    process.wait(timeout=60)
    answered.close()


def test_a_private_data_set_is_read_at_its_commit_and_that_is_reported(prepare: Prepare, tmp_path: Path) -> None:
    found = prepare(tmp_path, {"id": ID})
    assert found == {"learnt": ["jumps</s>"], "revisions": {ID: COMMIT}}


def test_a_split_or_a_branch_can_be_named(prepare: Prepare, tmp_path: Path) -> None:
    found = prepare(tmp_path, {"id": ID, "split": "test[:100%]", "revision": "main"})

    assert found == {"learnt": ["sleeps</s>"], "revisions": {f"{ID}@main": COMMIT}}


@pytest.mark.parametrize(
    ("source", "token", "says"),
    [
        ({"id": "org/nothing"}, TOKEN, "org/nothing: no such data set on the hub, or it is private."),
        ({"id": ID}, "hf_wrong", f"{ID}: no such data set on the hub, or it is private."),
        ({"id": ID, "revision": "v9"}, TOKEN, f"{ID}: there is no revision v9."),
        ({"id": ID, "split": "dev"}, TOKEN, 'Unknown split "dev"'),
    ],
)
def test_what_is_not_there_is_the_users_to_mend(
    prepare: Prepare, tmp_path: Path, source: dict[str, Any], token: str, says: str
) -> None:
    assert says in prepare(tmp_path, source, token)["user"]


def test_a_hub_that_fails_is_worth_another_attempt(prepare: Prepare, tmp_path: Path) -> None:
    assert f"The hub did not answer for the data set {BROKEN}" in prepare(tmp_path, {"id": BROKEN})["other"]


def test_a_pinned_commit_that_was_prepared_needs_no_hub(
    prepare: Prepare, hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    first = prepare(tmp_path, {"id": ID})
    requests = len(hub[1])

    assert prepare(tmp_path, {"id": ID}, **first["revisions"]) == first
    assert len(hub[1]) == requests
