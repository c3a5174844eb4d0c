"""Streams of pairs from the supported file formats, in flat memory."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dvs2s.data import cornell, smalltalk
from dvs2s.data.lines import DEFAULT_LINE_LIMIT, LineFile
from dvs2s.data.malformed import MalformedLog
from dvs2s.data.turns import Pair, bad_turns, pairs_of_dialogue
from dvs2s.errors import DataError

FORMATS = ("tsv", "jsonl", "dailydialog", "cornell", "smalltalk")
Advance = Callable[[int], None]
_DAILYDIALOG_NAMES = {"valid": "validation"}


def source_files(path: Path, *, format: str, split: str) -> list[Path]:
    """Returns the files that reading this source touches, in a fixed order.

    Args:
        path: a file; for cornell, smalltalk and dailydialog also the folder of the corpus.
        format: one of FORMATS.
        split: train, valid or test; picks the file in a dailydialog folder.

    Raises:
        ValueError: unknown format.
        DataError: the source is missing, or the folder lacks the expected files.
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if not path.exists():
        raise DataError(f"{path}: no such file or folder (split {split}): {_mend(path, split)}")
    if format == "cornell":
        return cornell.find_files(path)
    if format == "smalltalk":
        return smalltalk.find_files(path)
    if format == "dailydialog" and path.is_dir():
        return [_dailydialog_file(path, split)]
    if path.is_dir():
        raise DataError(f"{path}: is a folder, format {format} needs a file")
    return [path]


def _mend(path: Path, split: str) -> str:
    """Returns what to do about a missing file: its packed or unpacked twin may be there."""
    twin = path.with_suffix("") if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")
    return f"set data.{split}=[{twin.name}]" if twin.is_file() else "check the path"


def read_pairs(
    path: Path,
    *,
    format: str,
    split: str,
    context_turns: int,
    log: MalformedLog,
    advance: Advance | None = None,
    line_limit: int = DEFAULT_LINE_LIMIT,
) -> Iterator[Pair]:
    """Yields (message turns, oldest first; response) in the order of the source.

    Args:
        path: see `source_files`.
        format: one of FORMATS.
        split: train, valid or test; matters where one source holds all splits.
        context_turns: at most this many turns before the response; at least 1.
        log: counts what is left out.
        advance: called now and then with the bytes read since the last call.
        line_limit: longer lines, in bytes, are malformed.

    Raises:
        DataError: a file is missing, empty, binary or damaged.
    """
    if context_turns < 1:
        raise ValueError(f"context_turns must be at least 1, got {context_turns}")
    files = source_files(path, format=format, split=split)
    if format == "smalltalk":
        yield from smalltalk.read(files, split, context_turns, log, advance)
        return
    if format == "cornell":
        dialogues = cornell.read(files, split, log, line_limit)
        yield from pairs_of_dialogues(dialogues, context_turns)
        if advance is not None:
            advance(sum(file.stat().st_size for file in files))
        return
    lines = _text_lines(files[0], log, advance, line_limit)
    match format:
        case "tsv":
            yield from _tsv(files[0], lines, log)
        case "jsonl":
            yield from pairs_of_dialogues(_jsonl(files[0], lines, log), context_turns)
        case _:
            yield from pairs_of_dialogues(_dailydialog(files[0], lines, log), context_turns)


def pairs_of_dialogues(dialogues: Iterator[Sequence[str]], context_turns: int) -> Iterator[Pair]:
    """Yields the pairs of each dialogue: every turn but the first as a response."""
    for turns in dialogues:
        yield from pairs_of_dialogue(turns, context_turns)


def _text_lines(
    path: Path, log: MalformedLog, advance: Advance | None, limit: int
) -> Iterator[tuple[int, str]]:
    """Yields the decoded lines that are not blank; counts those that cannot be decoded."""
    file, told = LineFile(path, limit=limit), 0
    for number, line in file:
        if advance is not None and number % 1000 == 0:
            position = file.position
            advance(position - told)
            told = position
        if line is not None and not line.strip():
            log.blank += 1
            continue
        log.read += 1
        if line is None:
            log.add(path, number, "over-long line")
        elif b"\0" in line:
            log.add(path, number, "NUL byte", line)
        else:
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                log.add(path, number, "invalid UTF-8", line)
                continue
            yield number, text
    if advance is not None:
        advance(path.stat().st_size - told)


def _tsv(path: Path, lines: Iterator[tuple[int, str]], log: MalformedLog) -> Iterator[Pair]:
    for number, line in lines:
        columns = line.split("\t")
        if len(columns) == 1:
            log.add(path, number, "no tab", line)
        elif len(columns) > 2:
            log.add(path, number, "more than two columns", line)
        elif not columns[0].strip() or not columns[1].strip():
            log.add(path, number, "empty side", line)
        else:
            yield (columns[0],), columns[1]


def _jsonl(
    path: Path, lines: Iterator[tuple[int, str]], log: MalformedLog
) -> Iterator[Sequence[str]]:
    for number, line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            log.add(path, number, "bad JSON", line)
            continue
        turns: Any = value.get("turns") if isinstance(value, dict) else value
        if problem := bad_turns(turns):
            log.add(path, number, problem, line)
        else:
            yield turns


def _dailydialog(
    path: Path, lines: Iterator[tuple[int, str]], log: MalformedLog
) -> Iterator[Sequence[str]]:
    for number, line in lines:
        turns = [turn.strip() for turn in line.split("__eou__")]
        if turns and not turns[-1]:
            turns.pop()
        if problem := bad_turns(turns):
            log.add(path, number, problem, line)
        else:
            yield turns


def _dailydialog_file(folder: Path, split: str) -> Path:
    name = _DAILYDIALOG_NAMES.get(split, split)
    for candidate in (
        folder / f"dialogues_{name}.txt",
        folder / name / f"dialogues_{name}.txt",
        folder / split / f"dialogues_{split}.txt",
    ):
        if candidate.is_file():
            return candidate
    raise DataError(f"{folder}: neither dialogues_{name}.txt nor {name}/dialogues_{name}.txt in it")
