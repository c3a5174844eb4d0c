"""An output folder that appears complete or not at all."""

import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from dvs2s.data.manifest import NAME
from dvs2s.errors import DataError


@contextmanager
def complete_folder(out: Path) -> Iterator[Path]:
    """Gives a temporary folder beside `out` that takes its place when the block ends well.

    After an error, Ctrl-C or SIGTERM (turned into SystemExit for the time of the block) the
    temporary folder is gone and `out` is as before. What a killed process left is removed at the
    start; where it was killed between the two renames, the old `out` is put back.

    Args:
        out: the folder to make; an existing one is replaced if it is empty or was prepared before.

    Raises:
        DataError: `out` exists and is something else.
    """
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    _check_replaceable(out)
    temporary = _beside(out, "tmp", os.getpid())
    with _sigterm_as_exit():
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            yield temporary
            _sync_folder(temporary)
            _publish(temporary, out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, out: Path) -> None:
    old = _beside(out, "old", os.getpid())
    try:
        if out.exists():
            os.rename(out, old)
        os.rename(temporary, out)
    except BaseException:
        if old.exists() and not out.exists():
            os.rename(old, out)
        raise
    _sync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sweep(out: Path) -> None:
    pattern = re.compile(re.escape(out.name) + r"\.(tmp|old)-(\d+)")
    for path in sorted(out.parent.iterdir()):
        match = pattern.fullmatch(path.name)
        if match is None or _is_alive(int(match[2])):
            continue
        if match[1] == "old" and not out.exists():
            os.rename(path, out)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _check_replaceable(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / NAME).is_file()):
        raise DataError(
            f"{out}: exists and is no prepared folder: choose another one, or remove it yourself"
        )


def _beside(out: Path, kind: str, process: int) -> Path:
    return out.with_name(f"{out.name}.{kind}-{process}")


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return False  # an earlier process had our number
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: cleaning up must finish
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
