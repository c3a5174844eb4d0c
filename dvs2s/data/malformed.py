"""Counts of lines that cannot be used, with the first few for the user to look at."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from dvs2s.errors import DataError

_KEPT = 5
_EXCERPT = 60


@dataclass
class MalformedLog:
    """What readers report: units (lines or dialogues) read, and those left out by kind."""

    read: int = 0
    blank: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of malformed units."""
        return self.kinds.total()

    def add(self, path: Path, number: int, kind: str, content: str | bytes | None = None) -> None:
        """Counts one malformed unit.

        Args:
            path: its file.
            number: its line, from 1.
            kind: the reason, as a few fixed words.
            content: the line, where it was kept; shown escaped and cut.
        """
        self.kinds[kind] += 1
        if len(self.first) < _KEPT:
            excerpt = "" if content is None else f": {_escaped(content)}"
            self.first.append(f"{path}:{number}: {kind}{excerpt}")

    def check(self, max_share: float) -> None:
        """Raises DataError, with counts and first lines, where the malformed share is too high."""
        if self.count == 0 or self.count <= max_share * self.read:
            return
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(self.kinds.items()))
        raise DataError(
            f"{self.count} of {self.read} lines are malformed, more than the allowed share of "
            f"{max_share:g} ({kinds}). The first ones:\n"
            + "\n".join(f"  {line}" for line in self.first)
            + "\nCheck the format, or raise data.max_malformed_share"
        )


def _escaped(content: str | bytes) -> str:
    # Cut twice: before escaping to save time, after it because escapes are longer.
    text = content[:_EXCERPT]
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="backslashreplace")
    shown = text.encode("unicode_escape").decode("ascii")
    return shown[:_EXCERPT] + ("..." if len(content) > _EXCERPT or len(shown) > _EXCERPT else "")
