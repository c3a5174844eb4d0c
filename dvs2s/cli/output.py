"""Files that a command writes: complete, or not there."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from dvs2s.errors import DataError

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG)


@contextmanager
def open_output(option: str, name: str) -> Iterator[TextIO]:
    """Yields where to write; a file takes its name only when everything is in it.

    Args:
        option: what the file is called on the command line, for the error.
        name: a path, or ``-`` for standard output. Missing folders are made. A device or a pipe
            is written to as it is, never replaced.

    Raises:
        DataError: it cannot be written.
    """
    if name == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    if Path(name).is_dir():
        raise DataError(f"cannot write {option}={name}: it is a folder")
    is_special = Path(name).exists() and not Path(name).is_file()
    partial = Path(name if is_special else f"{name}.part")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        file = open(partial, "w", encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {option}={name}: {error.strerror}") from error
    try:
        with file:
            yield file
        if not is_special:
            os.replace(partial, name)
    except BaseException as error:
        if not is_special:
            partial.unlink(missing_ok=True)
        failed = error.__context__ if isinstance(error.__context__, OSError) else error
        if isinstance(failed, OSError) and failed.errno in _DISK:
            raise DataError(f"cannot write {option}={name}: {failed.strerror}") from error
        raise
