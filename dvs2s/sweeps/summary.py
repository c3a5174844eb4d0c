"""A sweep in one table: what each job had, what it came to, which is best, what failed."""

import csv
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dvs2s.errors import CheckpointError, DataError
from dvs2s.sweeps.status import JobStatus, is_dead, jobs
from dvs2s.training.checkpoint import resolve

LOSS = "loss"


@dataclass(frozen=True)
class Summary:
    """The jobs of a sweep, best first; those without a loss last.

    Args:
        folder: the sweep's.
        options: what differs between the jobs, sorted.
        measures: names of the values, sorted, the loss first.
        rows: of each job its folder's name, state, options, values, facts, error and checkpoint.
    """

    folder: str
    options: tuple[str, ...]
    measures: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]

    @property
    def best(self) -> dict[str, Any] | None:
        """The finished job of the lowest loss; None where there is none."""
        done = [row for row in self.rows if row["state"] == "finished" and LOSS in row["values"]]
        return done[0] if done else None

    @property
    def front(self) -> list[dict[str, Any]]:
        """The jobs that no other beats in every value, where several were measured."""
        done = [row for row in self.rows if set(self.measures) <= row["values"].keys()]
        return [row for row in done if not any(self._beats(other, row) for other in done)]

    def _beats(self, one: dict[str, Any], other: dict[str, Any]) -> bool:
        pairs = [(one["values"][name], other["values"][name]) for name in self.measures]
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def summarise(folder: Path) -> Summary:
    """Returns the summary of a sweep's folder.

    Raises:
        DataError: there is no job in it.
        CheckpointError: a job's status is damaged.
    """
    found = jobs(folder)
    if not found:
        raise DataError(f"{folder} holds no job of a sweep: give folder=multirun/NAME")
    options = _differing(found)
    rows = [_row(folder, at, status, options) for at, status in found.items()]
    names = {name for row in rows for name in row["values"]}
    measures = tuple(sorted(names, key=lambda name: (name != LOSS, name)))
    rows.sort(key=lambda row: (LOSS not in row["values"], row["values"].get(LOSS), row["job"]))
    return Summary(str(folder), options, measures, tuple(rows))


def to_markdown(summary: Summary) -> str:
    """Returns the table for people, with the best run and the failures under it."""
    head = [*summary.options, *summary.measures, "state"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in summary.rows:
        cells = [_cell(row["options"].get(name)) for name in summary.options]
        cells += [_cell(row["values"].get(name)) for name in summary.measures]
        lines.append(f"| {' | '.join([*cells, row['state']])} |")
    lines.append("")
    texts = [name for name in summary.options if _changes_words(name)]
    if texts:
        lines += [f"Losses under different {', '.join(texts)} are not comparable.", ""]
    if summary.best is not None:
        lines.append(f"Best {LOSS}: `{summary.best['job']}`, checkpoint")
        lines += [f"`{summary.best['checkpoint']}`", ""]
    if len(summary.measures) > 1 and summary.front:
        lines.append(f"Not beaten in every one of {', '.join(summary.measures)}:")
        lines += [*(f"- `{row['job']}`" for row in summary.front), ""]
    failed = [row for row in summary.rows if row["state"] not in ("finished", "pruned")]
    if failed:
        lines.append("Without a result:")
        lines += [f"- `{row['job']}`: {row['error'] or row['state']}" for row in failed]
        lines.append("")
    return "\n".join(lines)


def to_csv(summary: Summary) -> str:
    """Returns the table for spreadsheets; facts of the runs included."""
    facts = sorted({name for row in summary.rows for name in row["facts"]} - {*summary.measures})
    names = [*summary.options, *summary.measures, *facts]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["job", "state", *names, "checkpoint", "error"])
    for row in summary.rows:
        known = {**row["facts"], **row["values"], **row["options"]}
        cells = [known.get(name, "") for name in names]
        writer.writerow([row["job"], row["state"], *cells, row["checkpoint"], row["error"]])
    return text.getvalue()


def to_json(summary: Summary) -> str:
    """Returns everything, for programs."""
    best = None if summary.best is None else summary.best["job"]
    front = [row["job"] for row in summary.front]
    return json.dumps({**asdict(summary), "best": best, "front": front}, indent=1) + "\n"


def _differing(found: dict[Path, JobStatus]) -> tuple[str, ...]:
    """Returns the options whose value is not the same in every job."""
    given = [_options(status) for status in found.values()]
    names = {name for options in given for name in options}
    return tuple(sorted(n for n in names if len({o.get(n) for o in given}) > 1))


def _options(status: JobStatus) -> dict[str, str]:
    pairs = (override.partition("=") for override in status.overrides)
    return {name.lstrip("+"): value for name, _, value in pairs}


def _row(folder: Path, at: Path, status: JobStatus, options: tuple[str, ...]) -> dict[str, Any]:
    given = _options(status)
    state = "killed" if is_dead(at, status) else status.state
    return {
        "job": str(at.relative_to(folder)),
        "state": state,
        "options": {name: given[name] for name in options if name in given},
        "values": status.values,
        "facts": status.facts,
        "error": status.error,
        "checkpoint": _checkpoint(status),
    }


def _checkpoint(status: JobStatus) -> str:
    """Returns the folder of the run's best checkpoint, "" where there is none."""
    if not status.run:
        return ""
    try:
        return str(resolve(Path(status.run), "best"))
    except CheckpointError:
        return ""


def _changes_words(option: str) -> bool:
    """Whether the option changes what a response word is, and so what a nat a word means."""
    return option == "data" or (option.startswith("data.") and option != "data.fraction")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value).replace("|", "\\|")
