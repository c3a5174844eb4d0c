"""What a table says, and whose it is."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dvs2s.evaluation.resampling import Estimate
from dvs2s.table.timing import Times
from dvs2s.table.trained import Trained


@dataclass(frozen=True)
class Point:
    """Where a row stands in a study.

    Args:
        series: rows of one series make one curve.
        x: the value that is studied.
    """

    series: str
    x: float


@dataclass(frozen=True)
class Result:
    """A table.

    Args:
        name: of the table.
        key: changes when anything that it was made from does.
        baseline: the row that the others are compared with.
        estimates: metric, then row.
        plain: row, then metrics without an interval, each the mean over the seeds.
        times: row; empty where nothing was timed.
        trained: row; what its models cost.
        notes: recipes of the metrics.
        origin: configuration, commit, seeds, machine.
        parameter: what a study varies; empty for a table.
        points: row; of a study.
    """

    name: str
    key: str
    baseline: str
    estimates: Mapping[str, Mapping[str, Estimate]]
    plain: Mapping[str, Mapping[str, float]]
    times: Mapping[str, Times]
    trained: Mapping[str, Trained]
    notes: Mapping[str, str]
    origin: Mapping[str, Any]
    parameter: str = ""
    points: Mapping[str, Point] = field(default_factory=dict)

    @property
    def rows(self) -> list[str]:
        """The rows in the table's order."""
        return list(self.plain)

    def value(self, row: str, metric: str) -> float | None:
        """Returns a number of a row whatever its kind; None where it has none of the name."""
        if metric in self.estimates:
            return self.estimates[metric][row].value
        if metric == "ms a reply":
            return self.times[row].milliseconds if row in self.times else None
        return self.plain[row].get(metric)

    def to_json(self) -> str:
        """Returns everything as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False, indent=1)
