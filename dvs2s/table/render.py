"""A result as Markdown for people and as CSV for spreadsheets."""

import csv
import io
import json
from dataclasses import asdict

from dvs2s.evaluation.resampling import Estimate
from dvs2s.table.result import Result

GROUPS = {
    "Words shared with the references": ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"),
    "Characters shared with the references": tuple(f"BLEU-{n} (characters)" for n in (1, 2, 3, 4)),
    "Nearness of meaning (embeddings)": ("Average", "Extrema", "Greedy"),
    "Variety": ("distinct-1", "distinct-2", "distinct-3", "unique replies"),
    "Commonplaces": ("generic share", "copied share"),
    "Content": ("entropy a word", "entropy a reply", "length"),
}
_LEVEL = 0.05


def to_markdown(result: Result) -> str:
    """Returns the tables, one a group of metrics, with intervals and marks, and their origin."""
    parts = [f"# {result.name}", _legend(result)]
    for title, metrics in GROUPS.items():
        there = [metric for metric in metrics if metric in result.estimates]
        if there:
            cells = [
                [name, *(_cell(result.estimates[m][name], m) for m in there)]
                for name in result.rows
            ]
            parts += [f"## {title}", _table(["", *there], cells)]
    parts += _seed_section(result)
    parts += ["## Likelihood and coverage", _plain_table(result)]
    if result.times:
        parts += [f"## Time ({result.origin.get('timing', 'one message at a time')})"]
        parts += [_time_table(result)]
    parts += ["## Training", _training_table(result)]
    parts += ["## How it was measured", _list(result.notes), "## Origin", _origin(result)]
    return "\n\n".join(parts) + "\n"


def to_csv(result: Result) -> str:
    """Returns one line a row and metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ["row", "metric", "value", "low", "high", "difference", "p_value", "by_seed"]
    writer.writerow(names)
    for metric, rows in result.estimates.items():
        for name, e in rows.items():
            seeds = " ".join(f"{value:.6g}" for value in e.by_seed)
            numbers = [e.value, e.low, e.high, e.difference, e.p_value]
            writer.writerow([name, metric, *map(_number, numbers), seeds])
    for name, metrics in result.plain.items():
        for metric, value in metrics.items():
            writer.writerow([name, metric, _number(value), "", "", "", "", ""])
    for name, t in result.times.items():
        numbers = [t.milliseconds, t.low, t.high]
        writer.writerow([name, "ms a reply", *map(_number, numbers), "", "", ""])
        writer.writerow([name, "time ratio", _number(t.ratio), "", "", "", "", ""])
    for name, cost in result.trained.items():
        for metric, value in asdict(cost).items():
            writer.writerow([name, f"training {metric}", _number(value), "", "", "", "", ""])
    return out.getvalue()


def _legend(result: Result) -> str:
    against = (
        f"\\* differs from {result.baseline}, p < {_LEVEL} (paired bootstrap over messages and "
        f"seeds, two-sided, not corrected for the number of comparisons)."
        if result.baseline
        else ""
    )
    return f"95 % intervals in brackets. {_seeds_of_rows(result)} {against}".strip()


def _seeds_of_rows(result: Result) -> str:
    """Returns how many trainings stand behind the rows, and what an interval covers."""
    numbers = {row: len(next(iter(result.estimates.values()))[row].by_seed) for row in result.rows}
    most = max(numbers.values())
    alone = (
        "the intervals cover the choice of messages and say nothing of training; two runs of one "
        "row may differ by more."
    )
    if most == 1:
        return f"One seed: {alone}"
    fewer = [f"{row} {number}" for row, number in numbers.items() if number < most]
    text = f"Means over {most} seeds; intervals cover messages and seeds."
    if fewer:
        text += f" **Fewer seeds: {', '.join(fewer)}.**"
    if min(numbers.values()) == 1:
        text += f" With one seed {alone}"
    return text


def _cell(estimate: Estimate, metric: str) -> str:
    digits = 2 if metric.startswith(("BLEU", "entropy", "length")) else 4
    mark = "\\*" if estimate.p_value is not None and estimate.p_value < _LEVEL else ""
    ends = f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
    return f"{estimate.value:.{digits}f}{mark} {ends}"


def _seed_section(result: Result) -> list[str]:
    shown = ("BLEU-2", "Average", "distinct-2", "unique replies", "generic share")
    several = [m for m in shown if m in result.estimates]
    if not several or max(len(e.by_seed) for e in result.estimates[several[0]].values()) < 2:
        return []
    cells = [
        [name, *(_seeds(result.estimates[m][name], m) for m in several)] for name in result.rows
    ]
    return ["## Seed by seed", _table(["", *several], cells)]


def _seeds(estimate: Estimate, metric: str) -> str:
    digits = 2 if metric.startswith("BLEU") else 4
    return ", ".join(f"{value:.{digits}f}" for value in estimate.by_seed)


def _plain_table(result: Result) -> str:
    metrics = list(dict.fromkeys(m for row in result.plain.values() for m in row))
    cells = [
        [name, *("–" if m not in row else f"{row[m]:.4g}" for m in metrics)]
        for name, row in result.plain.items()
    ]
    return _table(["", *metrics], cells)


def _time_table(result: Result) -> str:
    cells = [
        [name, f"{t.milliseconds:.1f} [{t.low:.1f}, {t.high:.1f}]", f"{t.ratio:.3f}"]
        for name, t in result.times.items()
    ]
    return _table(["", "ms a reply [least, most]", f"ratio to {result.baseline}"], cells)


def _training_table(result: Result) -> str:
    cells = [
        [name, f"{t.parameters / 1e6:.2f}", f"{t.updates:.0f}", f"{t.seconds / 60:.1f}"]
        for name, t in result.trained.items()
    ]
    return _table(["", "million parameters", "updates", "minutes"], cells)


def _origin(result: Result) -> str:
    plain = {k: v for k, v in result.origin.items() if k != "configurations"}
    whole = json.dumps(result.origin.get("configurations", {}), indent=1, sort_keys=True)
    return (
        f"{_list(plain)}\n\n<details><summary>configurations</summary>\n\n"
        f"```json\n{whole}\n```\n\n</details>"
    )


def _list(values: object) -> str:
    assert hasattr(values, "items")
    return "\n".join(f"- {name}: {value}" for name, value in values.items())


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    # an escaped bar stays escaped: names such as |T| hold bars of their own
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
