"""Lines of a text file, plain or .gz, read as bytes with a limit on what is held in memory."""

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from dvs2s.errors import DataError

DEFAULT_LINE_LIMIT = 64 * 1024
_SNIFFED = 8192
# Bytes that text does not hold (form feed and escape occur in old text files).
_CONTROLS = bytes(b for b in (*range(32), 127) if b not in b"\t\n\r\x0c\x1b")
_MAX_CONTROL_SHARE = 0.05


class LineFile:
    """Iterates over (line number from 1, bytes without the line end, or None where over-long).

    A byte order mark and a carriage return before the line feed are taken off.

    Args:
        path: the file; `.gz` is unpacked on the way.
        limit: longest line in bytes, line end included.

    Raises:
        DataError: the file is missing, empty, binary, or damaged gzip; on iteration.
    """

    def __init__(self, path: Path, *, limit: int = DEFAULT_LINE_LIMIT) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1 byte, got {limit}")
        self.path = path
        self._limit = limit
        self._raw: BinaryIO | None = None

    @property
    def position(self) -> int:
        """Bytes of the file on disk that have been read so far."""
        return self._raw.tell() if self._raw is not None and not self._raw.closed else 0

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        try:
            with self.path.open("rb") as raw:
                self._raw = raw
                yield from self._lines(self._unpacked(raw))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{self.path}: damaged gzip file ({error}): fetch it again") from None
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such file: check the path") from None
        except OSError as error:
            raise DataError(f"{self.path}: cannot read it: {error.strerror or error}") from None

    def _unpacked(self, raw: BufferedReader) -> BufferedReader:
        is_packed = self.path.suffix == ".gz"
        if not is_packed and raw.peek(2)[:2] == b"\x1f\x8b":
            raise DataError(f"{self.path}: holds gzip data: name it {self.path.name}.gz")
        if not is_packed:
            return raw
        return BufferedReader(gzip.open(raw, "rb"), 1 << 16)

    def _lines(self, file: BufferedReader) -> Iterator[tuple[int, bytes | None]]:
        head = file.peek(_SNIFFED)[:_SNIFFED]
        check_text(self.path, head)
        if head.startswith(b"\xef\xbb\xbf"):
            file.read(3)
        number, limit = 0, self._limit
        while line := file.readline(limit):
            number += 1
            if line.endswith(b"\n"):
                yield number, line[:-2] if line.endswith(b"\r\n") else line[:-1]
            elif len(line) < limit:
                yield number, line  # the last line, without a line end
            else:
                while line and not line.endswith(b"\n"):
                    line = file.readline(limit)
                yield number, None


def check_text(path: Path, head: bytes) -> None:
    """Checks by its first bytes that a file is text in an 8-bit encoding.

    Raises:
        DataError: the file is empty or looks binary.
    """
    if not head:
        raise DataError(f"{path}: the file is empty")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: UTF-16 text: convert it to UTF-8")
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls > max(_MAX_CONTROL_SHARE * len(head), 1):
        raise DataError(
            f"{path}: a binary file, not text ({controls} control bytes in the first {len(head)})"
        )
