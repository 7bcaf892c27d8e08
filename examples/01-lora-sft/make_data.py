"""Makes the demo's data from Python's own standard library: source text, and pairs of a request and its code.

No download and no chance: the same Python gives the same files. Run: python make_data.py DIRECTORY
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

SKIPPED = frozenset(
    {"test", "tests", "idlelib", "lib2to3", "site-packages", "turtledemo", "ensurepip", "pydoc_data", "encodings"}
)
LONGEST_TEXT = 1_200_000
"""Characters of source for the base model: more than it sees in the demo."""
LONGEST_CODE = 450
LONGEST_INSTRUCTION = 250
HELD_OUT_OF = 40
"""One function in so many is never trained on."""


def sources() -> Iterator[Path]:
    """The standard library's own files, in a fixed order."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if not SKIPPED.intersection(path.relative_to(root).parts):
            yield path


def pairs(text: str) -> Iterator[dict[str, str]]:
    """One pair for each function with a docstring: signature and docstring ask, the body without it answers."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef):
            continue
        purpose = ast.get_docstring(node)
        if not purpose or len(node.body) < 2:
            continue
        node.body = node.body[1:]
        node.decorator_list = []
        code = ast.unparse(node)
        signature = code.partition("\n")[0]
        instruction = f"Write this Python function.\n{signature}\n{purpose.partition(chr(10) * 2)[0]}"
        if len(code) <= LONGEST_CODE and len(instruction) <= LONGEST_INSTRUCTION:
            yield {"instruction": instruction, "output": code}


def held_out(pair: dict[str, str]) -> bool:
    """By the name of the function, so that two versions of one function never stand on both sides."""
    name = pair["output"].partition("(")[0]
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % HELD_OUT_OF == 0


def make(directory: Path) -> tuple[int, int]:
    """Writes python-source/*.txt and python-instructions/{train,held-out}.jsonl. Returns how many pairs are in each."""
    text_directory, pair_directory = directory / "python-source", directory / "python-instructions"
    for made in (text_directory, pair_directory):
        made.mkdir(parents=True, exist_ok=True)
    train: dict[str, dict[str, str]] = {}
    held: dict[str, dict[str, str]] = {}
    texts: list[str] = []
    characters = 0
    for path in sources():
        try:
            text = path.read_text(encoding="utf-8")
            found = list(pairs(text))
        except (SyntaxError, UnicodeDecodeError):
            continue  # the library has files that are wrong on purpose
        if characters < LONGEST_TEXT:
            texts.append(text)
            characters += len(text)
        for pair in found:
            (held if held_out(pair) else train).setdefault(pair["output"], pair)
    (text_directory / "library.txt").write_text("\n\n\n".join(texts), encoding="utf-8")
    for name, rows in (("train", train), ("held-out", held)):
        lines = "".join(json.dumps(row) + "\n" for row in rows.values())
        (pair_directory / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return len(train), len(held)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_data.py DIRECTORY")
    print("{} pairs to learn from, {} held out".format(*make(Path(sys.argv[1]))))
