"""Labels on disk: a line each, appended and waited for, so that a crash loses none that was told.

A later label of the same annotator for the same item replaces the earlier one.
"""

import csv
import json
import os
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from dvs2s.annotation.criteria import LABELS
from dvs2s.errors import DataError

NAME = "labels.jsonl"
_ANNOTATOR = re.compile(r"[^\W_][\w .-]{0,39}")

Labels = Mapping[str, Mapping[str, int]]
"""Annotator, then item, then label."""


class LabelStore:
    """The labels of a sheet; safe to use from several threads.

    Args:
        folder: of the sheet.
        items: ids of its items.

    Raises:
        DataError: a line of the file is damaged, other than a last one that a crash tore.
    """

    def __init__(self, folder: Path, items: frozenset[str]) -> None:
        self._path, self._items = folder / NAME, items
        self._lock = threading.Lock()
        self._labels: dict[str, dict[str, int]] = {}
        for annotator, item, label in self._read():
            self._labels.setdefault(annotator, {})[item] = label

    def add(self, annotator: str, item: str, label: int) -> None:
        """Stores a label; returns when the disk has it.

        Args:
            annotator: a name of letters, digits, blanks, dots and dashes, at most 40.
            item: id of an item of the sheet.
            label: 0, 1 or 2.

        Raises:
            ValueError: one of them is none of these.
        """
        self._check(annotator, item, label)
        row = {"annotator": annotator, "item": item, "label": label, "time": round(time.time())}
        with self._lock:
            with self._path.open("ab") as file:
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self._labels.setdefault(annotator, {})[item] = label

    def of(self, annotator: str) -> dict[str, int]:
        """Returns an annotator's labels by item."""
        with self._lock:
            return dict(self._labels.get(annotator, {}))

    def labels(self) -> Labels:
        """Returns all labels."""
        with self._lock:
            return {name: dict(items) for name, items in self._labels.items()}

    def import_sheet(self, annotator: str, path: Path) -> int:
        """Adds the labels of a filled-in sheet.csv and returns how many there were.

        Raises:
            DataError: the file cannot be read, or a row of it holds something else.
        """
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file))
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from error
        filled = [(n, r) for n, r in enumerate(rows, 2) if (r.get("label") or "").strip()]
        checked = []
        for number, row in filled:
            try:
                label = int(row["label"])
                self._check(annotator, row.get("id") or "", label)
            except ValueError as error:
                raise DataError(f"{path}:{number}: {error}") from error
            checked.append((row["id"], label))
        for item, label in checked:
            self.add(annotator, item, label)
        return len(checked)

    def check_annotator(self, annotator: str) -> None:
        """Checks a name.

        Raises:
            ValueError: it is none that labels are kept under.
        """
        if not isinstance(annotator, str) or not _ANNOTATOR.fullmatch(annotator):
            raise ValueError(
                f"annotator must be a name of letters, digits, blanks, dots and dashes, at most "
                f"40, got {str(annotator)[:60]!r}"
            )

    def _check(self, annotator: str, item: str, label: int) -> None:
        self.check_annotator(annotator)
        if item not in self._items:
            raise ValueError(f"item must be one of the sheet's {len(self._items)}, got {item!r}")
        if type(label) is not int or label not in LABELS:
            raise ValueError(f"label must be one of 0, 1 and 2, got {label!r}")

    def _read(self) -> list[tuple[str, str, int]]:
        if not self._path.exists():
            return []
        content = self._path.read_bytes()
        sound = content[: content.rfind(b"\n") + 1]
        if len(sound) < len(content):
            os.truncate(self._path, len(sound))  # a crash tore a line that nobody was told is safe
        found = []
        for number, line in enumerate(sound.splitlines(), 1):
            try:
                row = json.loads(line)
                self._check(row["annotator"], row["item"], row["label"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{self._path}:{number}: damaged ({error})") from error
            found.append((row["annotator"], row["item"], row["label"]))
        return found
