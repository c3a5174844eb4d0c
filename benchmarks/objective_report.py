"""Tables and pictures of the studies of objectives, from the figures that other commands wrote.

    python benchmarks/objective_report.py --estimators NAME=FILE [NAME=FILE ...] --race FILE
        --out benchmarks/results/estimators

``--estimators`` are files of ``dvs2s.cli.bench bench=estimators out=FILE``, ``--race`` one of
``benchmarks/objective_race.py``. Prints Markdown; writes ``<out>.png``, ``<out>_race.png`` and
``<out>.json``, the figures of both.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from dvs2s.bench.estimators import table

_LABELS = {"B1": "(B1), nats a word", "full": "over the full vocabulary, nats a word"}
_LABELS |= {"soft": "over V weighed by β, nats a word", "expected_size": "E|T|"}
_NEAR = 0.0005  # nats a word: less than what two seeds differ by
_JOINT = 5  # contenders that differ in the estimator; the others keep the decoder calibrated


def main() -> None:
    """Prints the tables and draws the pictures."""
    options = _parser().parse_args()
    studies = dict(pair.split("=", 1) for pair in options.estimators)
    reports = {name: json.loads(Path(path).read_text()) for name, path in studies.items()}
    race = json.loads(Path(options.race).read_text())
    for name, report in reports.items():
        print(f"{name}: reward spread {report['reward_spread']:.3g} nats\n\n{table(report)}\n")
    print(race_table(race["curves"]) + "\n\n" + reach_table(race["curves"]))
    figures = {"estimators": reports, "race": race}
    Path(f"{options.out}.json").write_text(json.dumps(figures, indent=1) + "\n")
    draw_estimators(reports, Path(f"{options.out}.png"))
    draw_race(race["curves"], Path(f"{options.out}_race.png"))


def race_table(curves: dict[str, list[dict[str, float]]]) -> str:
    """Returns where every contender started and ended."""
    shown = ("B1", "B2", "multi", "positive", "full", "soft", "expected_size")
    lines = ["| objective | update | CPU s | s an update | " + " | ".join(shown) + " |"]
    lines.append("|---|" + "---:|" * (3 + len(shown)))
    rows = [("start", next(iter(curves.values()))[0])]
    rows += [(name, curve[-1]) for name, curve in curves.items()]
    for name, point in rows:
        cells = [f"{point[s]:.0f}" if s == "expected_size" else f"{point[s]:.4f}" for s in shown]
        each = point["cpu_s"] / max(point["update"], 1)
        lines.append(
            f"| {name} | {point['update']:.0f} | {point['cpu_s']:.0f} | {each:.3f} | "
            + " | ".join(cells)
            + " |"
        )
    return "\n".join(lines)


def reach_table(curves: dict[str, list[dict[str, float]]]) -> str:
    """Returns how long the closed form takes to the best (B1) of each sampled contender."""
    own = curves["closed_form"]
    head = f"closed_form is within {_NEAR} of it after"
    lines = [f"| sampled | its best (B1) | after CPU s | {head} | share |"]
    lines.append("|---|" + "---:|" * 4)
    for name, curve in list(curves.items())[1:_JOINT]:
        best = min(curve[1:], key=lambda point: point["B1"])
        seconds = crossing(own, best["B1"] + _NEAR)
        said = "not reached" if seconds is None else f"{seconds:.0f} s"
        share = "–" if seconds is None else f"{seconds / best['cpu_s']:.2f}"
        lines.append(f"| {name} | {best['B1']:.4f} | {best['cpu_s']:.0f} | {said} | {share} |")
    return "\n".join(lines)


def crossing(curve: list[dict[str, float]], value: float) -> float | None:
    """Returns the CPU seconds at which a curve first falls to a value, between points in line."""
    for before, after in zip(curve, curve[1:], strict=False):
        if after["B1"] <= value:
            way = (before["B1"] - value) / max(before["B1"] - after["B1"], 1e-12)
            return before["cpu_s"] + max(way, 0.0) * (after["cpu_s"] - before["cpu_s"])
    return None


def draw_estimators(reports: dict[str, Any], path: Path) -> None:
    """Draws the variance of β's gradient against the cost of an update."""
    plt = _pyplot()
    figure, axes = plt.subplots(
        1, len(reports), figsize=(6 * len(reports), 4.5), layout="constrained", squeeze=False
    )
    for axis, (name, report) in zip(axes[0], reports.items(), strict=True):
        drawn = [row for row in report["rows"] if row["variance"] > 0]
        for number, row in enumerate(drawn):
            axis.scatter(
                row["over_pretraining"],
                row["over_running"],
                color=f"C{number % 10}",
                marker="s" if row["estimator"] == "local_expectation" else "o",
                label=row["name"],
            )
        exact = next(row for row in report["rows"] if row["variance"] == 0)
        axis.axvline(
            exact["over_pretraining"], color="k", linestyle=":", label="closed form: no variance"
        )
        axis.set_yscale("log")
        axis.set_xlabel("CPU time of an update, x pre-training")
        axis.set_ylabel("variance of β's gradient, x running baseline")
        axis.set_title(name)
        axis.grid(alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})
    plt.close(figure)


def draw_race(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Draws what was measured against the CPU seconds of each contender."""
    plt = _pyplot()
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    for axis, metric in zip(axes.flat, _LABELS, strict=True):
        for number, (name, curve) in enumerate(curves.items()):
            style = "o-" if number < _JOINT else "s--"
            xs, ys = [p["cpu_s"] for p in curve], [p[metric] for p in curve]
            axis.plot(xs, ys, style, markersize=3, color=f"C{number}", label=name)
        axis.set_xlabel("CPU seconds of updates")
        axis.set_title(_LABELS[metric])
        axis.grid(alpha=0.3)
    handles = axes.flat[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})
    plt.close(figure)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    return plt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--estimators", nargs="+", required=True, metavar="NAME=FILE")
    parser.add_argument("--race", required=True)
    parser.add_argument("--out", required=True)
    return parser


if __name__ == "__main__":
    main()
