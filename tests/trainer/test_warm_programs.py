"""A forked program is the program: what it is given, prints and ends with is as in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune_cli.errors import Exit

from .warm_programs import WarmPopen
from .workplace import await_that


def ends(popen: type[subprocess.Popen[str]], at: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and error output of `finetune`, run with a manifest on its standard input."""
    with popen(
        [sys.executable, "-m", "finetune_cli", *arguments],
        cwd=at, env={**os.environ, "TERM": "dumb"}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        said, complained = process.communicate("kind: FineTuneJob\nspec: {model: 7}\n")
        return process.wait(), said, complained


@pytest.mark.parametrize(
    "arguments", [("version",), ("validate", "-"), ("render", "here.yaml"), ("undo",)], ids=lambda it: it[0]
)
def test_a_fork_says_and_ends_what_the_program_does(
    arguments: tuple[str, ...], tmp_path: Path, warm: type[WarmPopen]
) -> None:
    (tmp_path / "here.yaml").write_text("kind: Nothing\n")
    assert ends(warm, tmp_path, *arguments) == ends(subprocess.Popen, tmp_path, *arguments)


def test_a_fork_keeps_only_the_descriptors_that_it_is_given(tmp_path: Path, warm: type[WarmPopen]) -> None:
    with (tmp_path / "kept").open("w") as kept, (tmp_path / "other").open("w") as other:
        assert other.fileno() > 2
        process = warm(
            [sys.executable, "-m", "finetune_cli", "validate", "-"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[kept.fileno()],
        )  # fmt: skip

    def held() -> set[Path]:
        return {path.resolve() for path in Path(f"/proc/{process.pid}/fd").iterdir()}

    await_that(lambda: tmp_path / "other" not in held())
    assert tmp_path / "kept" in held()
    process.communicate(b"kind: FineTuneJob\nspec: {model: 7}\n")
    assert process.returncode == Exit.INVALID
