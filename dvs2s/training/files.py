"""Files that are there whole or not at all."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvs2s.errors import CheckpointError

TEMPORARY = ".tmp-"


@contextmanager
def explained(place: Path) -> Iterator[None]:
    """Turns the system's errors while writing at ``place`` into a sentence.

    Raises:
        CheckpointError: the disk is full, a folder is gone or may not be written.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or place
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise CheckpointError(
                f"disk full while saving {where}: the checkpoints before it are whole; "
                "free some space, then resume"
            ) from error
        raise CheckpointError(f"cannot save {where}: {error.strerror or error}") from error


def write_file(path: Path, data: bytes) -> None:
    """Writes a new file and waits until the disk has it; the mode follows the umask.

    Raises:
        OSError: it exists already, or cannot be written.
    """
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Puts ``data`` at ``path`` in one step: a reader sees the old file or the new one.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    temporary = temporary_beside(path)
    try:
        write_file(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace_text(path: Path, text: str) -> None:
    """Puts a UTF-8 text at ``path`` in one step, and makes its folder.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode())


def sync_folder(folder: Path) -> None:
    """Waits until the disk has the folder's list of names."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_beside(path: Path) -> Path:
    """Returns a name in the folder of ``path`` that ``sweep`` takes for left-overs."""
    return path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")


def sweep(folder: Path) -> int:
    """Removes what killed writers left in ``folder`` and returns how many things that were.

    Only the process that holds the run's lock may call it: it would take the temporary files
    of a running writer away.
    """
    leftovers = [path for path in folder.iterdir() if path.name.startswith(TEMPORARY)]
    for path in leftovers:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return len(leftovers)


def remove_folder(folder: Path) -> None:
    """Removes a folder so that a kill half-way leaves a left-over, never half a folder."""
    temporary = temporary_beside(folder)
    os.replace(folder, temporary)
    shutil.rmtree(temporary)


def to_json(value: Any, name: str) -> bytes:
    """Returns ``value`` as UTF-8 JSON that reads back equal.

    Args:
        value: dict of plain types with string keys; finite numbers only.
        name: what it is, for the error.

    Raises:
        ValueError: something in it does not survive the way to JSON and back.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True)
        data = text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold plain JSON types only: {error}") from error
    if not _is_same(json.loads(text), value):
        raise ValueError(
            f"{name} must hold plain JSON types only: a tuple or a key that is no string "
            "would come back changed"
        )
    return data


def parse_json(data: bytes, path: Path) -> dict[str, Any]:
    """Returns the JSON object in ``data``.

    Args:
        data: the file's content.
        path: the file, for the error.

    Raises:
        CheckpointError: no UTF-8 JSON, or not an object.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is damaged: {type(value).__name__} instead of an object")
    return value


def _is_same(read: Any, written: Any) -> bool:
    """Equality that, unlike ``==``, tells a list from a tuple and True from 1."""
    if isinstance(read, dict):
        return (
            isinstance(written, dict)
            and read.keys() == written.keys()
            and all(_is_same(value, written[key]) for key, value in read.items())
        )
    if isinstance(read, list):
        return (
            isinstance(written, list)
            and len(read) == len(written)
            and all(map(_is_same, read, written))
        )
    return bool(read == written) and isinstance(read, bool) == isinstance(written, bool)
