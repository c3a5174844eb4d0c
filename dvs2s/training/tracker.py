"""Curves of a run: TensorBoard for the eye, metrics.jsonl for programs."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from torch.utils.tensorboard import SummaryWriter

from dvs2s.errors import CheckpointError, DataError
from dvs2s.training import files

# Values of this family depend on the clock; they would make equal runs differ.
SPEED = "speed/"


class Log(Protocol):
    """Takes what a run reports."""

    def log(
        self, update: int, values: Mapping[str, float], text: Mapping[str, str] | None = None
    ) -> None:
        """Notes values (and text) of ``update`` by name."""


class Silence:
    """A log of nothing, for the workers of a run that do not write."""

    def log(
        self, update: int, values: Mapping[str, float], text: Mapping[str, str] | None = None
    ) -> None:
        """Forgets them."""


class Tracker:
    """Writes <run>/metrics.jsonl and <run>/tensorboard.

    What an earlier process logged beyond ``update`` is cut off, so that the file of a resumed
    run equals that of an uninterrupted one and the curves have neither gap nor overlap.

    Args:
        run_dir: the run's folder; made where missing.
        update: the update the run continues after, 0 for a new run.

    Raises:
        ValueError: ``update`` is below 0.
        DataError: metrics.jsonl holds a line that is not one of ours.
        CheckpointError: they cannot be written (disk full, for instance); so for each line.
    """

    def __init__(self, run_dir: Path, *, update: int = 0) -> None:
        if update < 0:
            raise ValueError(f"update must be 0 or more, got {update}")
        self._run_dir = Path(run_dir)
        path = self._run_dir / "metrics.jsonl"
        with files.explained(path):
            self._run_dir.mkdir(parents=True, exist_ok=True)
            self._repeated = _cut(path, update)
            self._file = open(path, "ab")
            self._board = SummaryWriter(str(self._run_dir / "tensorboard"), purge_step=update + 1)

    def log(
        self, update: int, values: Mapping[str, float], text: Mapping[str, str] | None = None
    ) -> None:
        """Appends one line to metrics.jsonl and one point a value to TensorBoard.

        Args:
            update: number of updates made.
            values: by name. "speed/..." goes to TensorBoard only; a value that is not finite
                becomes null in metrics.jsonl.
            text: by name, for both.

        Raises:
            ValueError: ``update`` is below 0, or a value is named "update" or "text".
        """
        if update < 0:
            raise ValueError(f"update must be 0 or more, got {update}")
        if not {"update", "text"}.isdisjoint(values):
            raise ValueError('values must not be named "update" or "text": the line uses them')
        if os.fstat(self._file.fileno()).st_nlink == 0:
            raise CheckpointError(
                f"{self._file.name} was removed while this run writes it: start the run again"
            )
        with files.explained(self._run_dir):
            for name, value in values.items():
                self._board.add_scalar(name, value, update)
            for name, note in (text or {}).items():
                self._board.add_text(name, note, update)
            line = _line(update, values, text)
            # A run that was saved at this update and killed after this line makes it once more.
            if line and line not in self._repeated:
                self._file.write(line)
                self._file.flush()
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Writes what is still held back and closes both.

        Raises:
            CheckpointError: it cannot be written.
        """
        with files.explained(self._run_dir):
            try:
                self._file.close()
            finally:
                self._board.close()

    def __enter__(self) -> "Tracker":
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the files; what ended the block is not hidden by what ends this."""
        try:
            self.close()
        except CheckpointError:
            if error is None:
                raise


def _line(update: int, values: Mapping[str, float], text: Mapping[str, str] | None) -> bytes:
    row: dict[str, Any] = {"update": update}
    # Sorted: the order in which a loop sums things up may change with a resume.
    for name, value in sorted(values.items()):
        if not name.startswith(SPEED):
            row[name] = value if math.isfinite(value) else None
    if text:
        row["text"] = dict(text)
    if len(row) == 1:
        return b""
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"


def _cut(path: Path, update: int) -> set[bytes]:
    """Drops the lines beyond ``update`` and a half-written last one; returns those at it."""
    if not path.exists():
        return set()
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    kept = []
    at_update = set()
    for number, line in enumerate(lines, start=1):
        try:
            line_update = int(json.loads(line)["update"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} line {number} is no line of a run: move the file away, then resume"
            ) from error
        if line_update <= update:
            kept.append(line)
        if line_update == update:
            at_update.add(line)
    if b"".join(kept) != data:
        files.replace_file(path, b"".join(kept))
    return at_update
