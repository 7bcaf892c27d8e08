"""Reads rows from one file of each kind, saying file, line and column where it cannot. Knows no formats of training."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import DataError
from .places import DataFile
from .rows import Origin, Row

PIECE_CHARACTERS = 16_384
"""About this many characters of a .txt file make one row, so that a single long file can be split and mixed."""

_PARAGRAPH = re.compile(r"\n[ \t]*\n+")
_MAXIMUM_FIELD = 2**31 - 1


def read(file: DataFile) -> Iterator[Row]:
    """The rows of a file, in order. Raises DataError with the place of the first thing that is wrong."""
    empty = True
    for row in _READERS[file.kind](file):
        empty = False
        yield row
    if empty:
        raise DataError("the file has no rows.", "Put at least one example into it or take it out.", file=file.label)


def _bytes(file: DataFile) -> bytes:
    try:
        content = file.path.read_bytes()
        return gzip.decompress(content) if file.compressed else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot be read: {error}.", "Check the file and its permissions.", file=file.label) from error


def _decoded(content: bytes, file: DataFile, line: int = 1, offset: int = 0) -> str:
    """Text of bytes that begin at `line` and byte `offset` of the file."""
    try:
        return content.decode("utf-8-sig" if offset == 0 else "utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        raise DataError(
            f"byte 0x{content[error.start]:02x} at offset {offset + error.start} is not UTF-8.",
            "Save the file as UTF-8.",
            file=file.label,
            line=line + before.count(b"\n"),
            column=len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1,
        ) from error


def _lines(file: DataFile) -> Iterator[tuple[int, str]]:
    """Numbered lines without reading the whole file at once."""
    offset = 0
    try:
        with gzip.open(file.path) if file.compressed else file.path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                yield number, _decoded(raw, file, number, offset)
                offset += len(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot be read: {error}.", "Check the file and its permissions.", file=file.label) from error


def _json_error(error: json.JSONDecodeError, file: DataFile, first_line: int = 1) -> DataError:
    return DataError(
        f"this is not JSON: {error.msg}.",
        "Mend that place; a JSON checker shows what is missing.",
        file=file.label,
        line=first_line + error.lineno - 1,
        column=error.colno,
    )


def _cannot_be_held(error: ValueError | RecursionError, file: DataFile, line: int | None) -> DataError:
    """JSON that is right and that Python does not take: thousands of digits, thousands of brackets."""
    return DataError(f"this cannot be read: {error}.", "Take it out.", file=file.label, line=line)


def _may_be_cut(text: str) -> bool:
    """Whether an escape in the text could be half of a character; quick, for it is asked of every line."""
    return "\\ud" in text or "\\uD" in text


def _object(value: Any, file: DataFile, row: int, line: int | None, may_be_cut: bool) -> Row:
    if not isinstance(value, dict):
        raise DataError(
            f"row {row} is {type_in_words(value)}, not an object.",
            'Write each row as an object of named fields: {"prompt": "...", "completion": "..."}.',
            file=file.label,
            line=line,
            column=1 if file.kind == ".jsonl" else None,
        )
    if may_be_cut:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"row {row} has half of a character, \\u{ord(error.object[error.start]):04x}.",
                "Write both halves or none: something has cut the text in the middle of a character.",
                file=file.label,
                line=line,
            ) from error
    return Row(value, Origin(file.label, row, line))


def _json_lines(file: DataFile) -> Iterator[Row]:
    row = 0
    for number, line in _lines(file):
        if not line.strip():
            continue
        row += 1
        try:
            value = json.loads(line.rstrip("\r\n"))  # else what is left open counts as an error of the next line
        except json.JSONDecodeError as error:
            if row == 1 and line.strip() in ("[", "{"):
                raise DataError(
                    "a .jsonl file has one whole object a line; this looks like one JSON document.",
                    "Name the file .json, or write each row on a line of its own.",
                    file=file.label,
                    line=number,
                    column=1,
                ) from error
            raise _json_error(error, file, number) from error
        except (ValueError, RecursionError) as error:
            raise _cannot_be_held(error, file, number) from error
        yield _object(value, file, row, number, _may_be_cut(line))


def _json(file: DataFile) -> Iterator[Row]:
    """An array of objects, an object with one list, or (as many tools write it) one object a line."""
    text = _decoded(_bytes(file), file)
    if not text.strip():
        return
    start = _skip(text, 0)
    if text[start] == "{":
        try:
            value, end = json.JSONDecoder().raw_decode(text, start)
        except json.JSONDecodeError as error:
            raise _json_error(error, file) from error
        except (ValueError, RecursionError) as error:
            raise _cannot_be_held(error, file, None) from error
        if _skip(text, end) < len(text):
            yield from _json_lines(file)
            return
        lists = [name for name, inner in value.items() if isinstance(inner, list)]
        if len(lists) != 1:
            raise DataError(
                f"the object has {len(lists) or 'no'} lists ({', '.join(value) or 'no fields at all'}); "
                "which one holds the rows cannot be known.",
                "Write an array of rows, or an object with one list.",
                file=file.label,
                line=1,
            )
        rows: list[Any] = value[lists[0]]
        cut = _may_be_cut(text)
        yield from (_object(row, file, number, None, cut) for number, row in enumerate(rows, start=1))
        return
    yield from _json_array(text, start, file)


def _json_array(text: str, start: int, file: DataFile) -> Iterator[Row]:
    """Element by element, so that each row knows its line."""
    if text[start] != "[":
        raise DataError(
            "the file is neither an array of rows nor an object with one list.",
            "Write [{...}, {...}].",
            file=file.label,
            line=text.count("\n", 0, start) + 1,
        )
    decoder, row, line, counted = json.JSONDecoder(), 0, 1, 0
    position = _skip(text, start + 1)
    try:
        while text[position : position + 1] != "]" or row == 0:
            if text[position : position + 1] == "]":
                break
            line, counted = line + text.count("\n", counted, position), position
            value, end = decoder.raw_decode(text, position)
            row += 1
            yield _object(value, file, row, line, _may_be_cut(text[position:end]))
            position = _skip(text, end)
            if text[position : position + 1] == ",":
                position = _skip(text, position + 1)
            elif text[position : position + 1] != "]":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, position)
        rest = _skip(text, position + 1)
        if rest < len(text):
            raise json.JSONDecodeError("Extra data", text, rest)
    except json.JSONDecodeError as error:
        raise _json_error(error, file) from error
    except (ValueError, RecursionError) as error:
        raise _cannot_be_held(error, file, line) from error


def _skip(text: str, position: int) -> int:
    """The next position that is not white space."""
    match = re.compile(r"[ \t\r\n]*").match(text, position)
    return match.end() if match else position


def _csv(file: DataFile) -> Iterator[Row]:
    csv.field_size_limit(_MAXIMUM_FIELD)
    delimiter = "\t" if file.kind == ".tsv" else ","
    reader = csv.reader((line for _, line in _lines(file)), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    begin, row = 1, 0
    try:
        for fields in reader:
            line, begin = begin, reader.line_num + 1
            if not fields:
                continue
            if header is None:
                header = _header(fields, file, line)
                continue
            row += 1
            if len(fields) != len(header):
                few = len(fields) < len(header)
                raise DataError(
                    f"row {row} has {len(fields)} fields, the header has {len(header)} ({', '.join(header)}).",
                    f"Add the missing {'field' if len(header) - len(fields) == 1 else 'fields'}."
                    if few
                    else f'Put a value that contains "{delimiter}" or a line break in double quotes.',
                    file=file.label,
                    line=line,
                )
            yield Row(dict(zip(header, fields, strict=True)), Origin(file.label, row, line))
    except csv.Error as error:
        raise DataError(
            f"this is not CSV: {error}.",
            "A double quote inside a quoted value is written twice, and every opened quote must be closed.",
            file=file.label,
            line=begin,
        ) from error


def _header(fields: list[str], file: DataFile, line: int) -> list[str]:
    names = [field.strip() for field in fields]
    problem = ""
    if len(names) == 1 and re.search(r"[;\t|]", names[0]):
        problem = "the header is one column; the fields seem to be separated by something other than a comma."
    elif "" in names:
        problem = f"column {names.index('') + 1} has no name."
    elif len(set(names)) < len(names):
        problem = f"the column {next(name for name in names if names.count(name) > 1)} is there twice."
    if problem:
        advice = "The first line names the columns, separated by commas (.csv) or tabs (.tsv)."
        raise DataError(problem, advice, file=file.label, line=line)
    return names


def _text(file: DataFile) -> Iterator[Row]:
    """The document in pieces that end with a paragraph; one row where it is short."""
    text = _decoded(_bytes(file), file).replace("\r\n", "\n")
    if not text.strip():
        return
    start, line, row = 0, 1, 0
    while start < len(text):
        end = len(text)
        if end - start > PIECE_CHARACTERS:
            paragraph = _PARAGRAPH.search(text, start + PIECE_CHARACTERS)
            end = paragraph.end() if paragraph else end
        row += 1
        yield Row({"text": text[start:end]}, Origin(file.label, row, line), continues=end < len(text))
        line += text.count("\n", start, end)
        start = end


def _parquet(file: DataFile) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    row = 0
    try:
        with parquet.ParquetFile(file.path, memory_map=True) as table:
            for batch in table.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    row += 1
                    yield Row(values, Origin(file.label, row))
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"this is not a readable Parquet file: {error}", "Write the file again.", file=file.label
        ) from error


def type_in_words(value: Any) -> str:
    """How messages call the type of a JSON value."""
    if value is None:
        return "null"
    names = {bool: "true or false", str: "a string", list: "a list", dict: "an object", int: "a number"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "a number")


_READERS: dict[str, Callable[[DataFile], Iterator[Row]]] = {
    ".json": _json,
    ".jsonl": _json_lines,
    ".csv": _csv,
    ".tsv": _csv,
    ".txt": _text,
    ".parquet": _parquet,
}
