"""Cornell movie dialogues: a file of lines and a file of conversations that name lines.

Source: Danescu-Niculescu-Mizil and Lee 2011, the corpus's own README (fields and separator).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from dvs2s.data.lines import LineFile
from dvs2s.data.malformed import MalformedLog
from dvs2s.errors import DataError

_SEPARATOR = "+++$+++"
_LINES = ("movie_lines.txt",)
_CONVERSATIONS = ("movie_conversations.txt", "movie_conversation.txt")
_ID_LIST = re.compile(r"\[(\s*'[^']*'\s*,?)*\s*\]")
# The corpus has no split of its own: of every 20 conversations the 10th and the 20th are held out.
_CYCLE = 20
_HELD_OUT = {10: "valid", 0: "test"}


def find_files(folder: Path) -> list[Path]:
    """Returns [lines file, conversations file] of a folder.

    Raises:
        DataError: one is missing.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: format cornell needs the folder with {_LINES[0]}")
    found = []
    for names in (_LINES, _CONVERSATIONS):
        present = [folder / name for name in names if (folder / name).is_file()]
        if not present:
            raise DataError(f"{folder}: no {' or '.join(names)} in it")
        found.append(present[0])
    return found


def read(
    files: Sequence[Path], split: str, log: MalformedLog, line_limit: int
) -> Iterator[list[str]]:
    """Yields the turns of the split's conversations.

    The text of all lines is held in memory (about 60 MB for the whole corpus), since conversations
    may name lines in any order. Bytes that are not UTF-8 are read as Latin-1, as published.

    Args:
        files: what `find_files` returned.
        split: train, valid or test.
        log: counts lines and conversations that are left out.
        line_limit: longest line in bytes.
    """
    texts = _read_texts(files[0], log, line_limit)
    position = 0
    for number, row in _rows(files[1], 4, log, line_limit):
        position += 1
        if _HELD_OUT.get(position % _CYCLE, "train") != split:
            continue
        ids = re.findall(r"'([^']*)'", row[3]) if _ID_LIST.fullmatch(row[3].strip()) else []
        turns = [texts.get(id, "") for id in ids]
        if len(turns) < 2:
            log.add(files[1], number, "fewer than two turns", row[3])
        elif missing := [id for id in ids if id not in texts]:
            log.add(files[1], number, "unknown line", missing[0])
        elif not all(turns):
            log.add(files[1], number, "empty side", row[3])
        else:
            yield turns


def _read_texts(path: Path, log: MalformedLog, line_limit: int) -> dict[str, str]:
    return {row[0].strip(): row[4].strip() for _, row in _rows(path, 5, log, line_limit)}


def _rows(
    path: Path, num_fields: int, log: MalformedLog, line_limit: int
) -> Iterator[tuple[int, list[str]]]:
    for number, line in LineFile(path, limit=line_limit):
        if line is not None and not line.strip():
            log.blank += 1
            continue
        log.read += 1
        if line is None:
            log.add(path, number, "over-long line")
        elif b"\0" in line:
            log.add(path, number, "NUL byte", line)
        else:
            row = _decode(line).split(_SEPARATOR, num_fields - 1)
            if len(row) == num_fields:
                yield number, row
            else:
                log.add(path, number, f"fewer than {num_fields} fields", line)


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")
