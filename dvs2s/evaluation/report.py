"""The numbers of an evaluation: a table for people, JSON for machines."""

import json
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

_MISSING = "–"


@dataclass(frozen=True)
class Report:
    """The metrics of one system on one set of messages.

    Args:
        name: of the system.
        num_replies: replies measured, at least 0.
        metrics: numbers by name, in the order of the table.
        notes: words that belong to the numbers, such as BLEU's signature, by name.

    Raises:
        ValueError: the name is empty, the number negative, or a metric not finite.
    """

    name: str
    num_replies: int
    metrics: dict[str, float]
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError(f"name must not be empty, got {self.name!r}: name the system")
        if self.num_replies < 0:
            raise ValueError(
                f"num_replies must be at least 0, got {self.num_replies}: count the replies"
            )
        for metric, value in self.metrics.items():
            if not math.isfinite(value):
                raise ValueError(
                    f"metrics must be finite, got {value} for {metric!r}: leave it out"
                )

    def to_json(self) -> str:
        """The report as one line of JSON."""
        return json.dumps(
            {
                "name": self.name,
                "num_replies": self.num_replies,
                "metrics": self.metrics,
                "notes": self.notes,
            },
            ensure_ascii=False,
            allow_nan=False,
        )


def to_text(reports: Sequence[Report]) -> str:
    """The reports side by side, aligned for a terminal: a row a metric, a column a system.

    Raises:
        ValueError: no reports, or two of the same name.
    """
    cells = _cells(reports)
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    lines = [_aligned(row, widths, "  ").rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, *_remarks(reports)]) + "\n"


def to_markdown(reports: Sequence[Report]) -> str:
    """The reports side by side as a Markdown table: a row a metric, a column a system.

    Raises:
        ValueError: no reports, or two of the same name.
    """
    cells = [[cell.replace("|", "\\|") for cell in row] for row in _cells(reports)]
    widths = [max(3, *map(_width, column)) for column in zip(*cells, strict=True)]
    lines = [f"| {_aligned(row, widths, ' | ')} |" for row in cells]
    rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, f"| {' | '.join(rules)} |")
    remarks = _remarks(reports)
    return "\n".join([*lines, *([""] if remarks else []), *remarks]) + "\n"


def _cells(reports: Sequence[Report]) -> list[list[str]]:
    if not reports:
        raise ValueError("reports must not be empty, got none: pass at least one report")
    names = [report.name for report in reports]
    if len(set(names)) < len(names):
        raise ValueError(f"reports must have different names, got {names}: rename one")
    # In the order of their first appearance.
    metrics = list(dict.fromkeys(metric for report in reports for metric in report.metrics))
    rows = [["", *names], ["replies", *(str(report.num_replies) for report in reports)]]
    for metric in metrics:
        values = [report.metrics.get(metric) for report in reports]
        are_shares = all(value is None or abs(value) <= 1 for value in values)
        rows.append([metric, *(_format(value, 4 if are_shares else 2) for value in values)])
    return rows


def _format(value: float | None, decimals: int) -> str:
    """The number with so many decimals, unless that would show something as nothing."""
    if value is None:
        return _MISSING
    if isinstance(value, int):
        return str(value)
    text = f"{value:.{decimals}f}"
    return f"{value:.1e}" if value and float(text) == 0 else text


def _remarks(reports: Sequence[Report]) -> list[str]:
    remarks: list[str] = []
    for title in dict.fromkeys(title for report in reports for title in report.notes):
        texts = {report.name: report.notes[title] for report in reports if title in report.notes}
        if len(set(texts.values())) == 1:
            remarks.append(f"{title}: {next(iter(texts.values()))}")
        else:
            remarks.extend(f"{title} ({name}): {text}" for name, text in texts.items())
    if len({report.num_replies for report in reports}) > 1:
        remarks.append("Numbers of replies differ: diversity can not be compared.")
    return remarks


def _aligned(row: list[str], widths: list[int], between: str) -> str:
    first = row[0] + " " * (widths[0] - _width(row[0]))
    rest = (
        " " * (width - _width(cell)) + cell for cell, width in zip(row[1:], widths[1:], strict=True)
    )
    return between.join([first, *rest])


def _width(text: str) -> int:
    """Columns in a terminal: two for a wide character, none for a combining one."""
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )
