"""Pictures of a result: bars with intervals, quality against |T| and time, curves of a study."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvs2s.errors import Dvs2sError
from dvs2s.table.result import Result

SHOWN = ("BLEU-2", "Average", "distinct-2", "generic share")
STUDIED = (*SHOWN, "T token recall", "ms a reply")


def check_matplotlib() -> None:
    """Checks that pictures can be drawn here, without a screen.

    Raises:
        Dvs2sError: matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise Dvs2sError(
            f"pictures need matplotlib ({error}): pip install 'dvs2s[bench]'"
        ) from error
    matplotlib.use("agg")


def plots(result: Result) -> dict[str, Callable[[Path], None]]:
    """Returns what draws each picture, by file name.

    Raises:
        Dvs2sError: matplotlib is missing.
    """
    check_matplotlib()
    if result.points:
        return {"curves.png": lambda path: _curves(result, path)}
    found = {"bars.png": lambda path: _bars(result, path)}
    found["size.png"] = lambda path: _against(result, "mean |T|", path)
    if result.times:
        found["time.png"] = lambda path: _against(result, "ms a reply", path)
    return found


def _panels(count: int, columns: int, height: float) -> tuple[Any, list[Any]]:
    import matplotlib.pyplot as plt

    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4.2 * columns, height * rows), layout="constrained", squeeze=False
    )
    flat = list(axes.flat)
    for unused in flat[count:]:
        unused.set_axis_off()
    return figure, flat


def _bars(result: Result, path: Path) -> None:
    figure, axes = _panels(len(SHOWN), 2, 0.9 + 0.32 * len(result.rows))
    for axis, metric in zip(axes, SHOWN, strict=False):
        for place, row in enumerate(reversed(result.rows)):
            estimate = result.estimates[metric][row]
            # an interval that leaves its value out would have a length below 0
            ends = [max(estimate.value - estimate.low, 0), max(estimate.high - estimate.value, 0)]
            color = "C1" if row == result.baseline else "C0"
            bar = [[ends[0]], [ends[1]]]
            axis.barh(place, estimate.value, xerr=bar, color=color, capsize=3, zorder=2)
        axis.set_yticks(range(len(result.rows)), labels=list(reversed(result.rows)))
        axis.set_title(metric)
        axis.grid(axis="x", alpha=0.3)
    _save(figure, path)


def _against(result: Result, x: str, path: Path) -> None:
    figure, axes = _panels(len(SHOWN), 2, 3.2)
    for axis, metric in zip(axes, SHOWN, strict=False):
        for row in result.rows:
            place = result.value(row, x)
            if place is None:
                continue
            estimate = result.estimates[metric][row]
            ends = [max(estimate.value - estimate.low, 0), max(estimate.high - estimate.value, 0)]
            bar = [[ends[0]], [ends[1]]]
            axis.errorbar(place, estimate.value, yerr=bar, fmt="o", capsize=3, label=row)
        axis.set_xlim(left=0)
        axis.set_xlabel(x)
        axis.set_title(metric)
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    _save(figure, path)


def _curves(result: Result, path: Path) -> None:
    shown = [m for m in STUDIED if any(result.value(row, m) is not None for row in result.rows)]
    figure, axes = _panels(len(shown), 2, 3.2)
    series = list(dict.fromkeys(point.series for point in result.points.values()))
    for axis, metric in zip(axes, shown, strict=False):
        for number, name in enumerate(series):
            members = [row for row, point in result.points.items() if point.series == name]
            pairs = [(result.points[row].x, row) for row in members]
            drawn = [(x, row) for x, row in sorted(pairs) if result.value(row, metric) is not None]
            xs, ys = [x for x, _ in drawn], [result.value(row, metric) for _, row in drawn]
            axis.plot(xs, ys, "o-", color=f"C{number}", label=name)
            if metric in result.estimates:
                ends = [result.estimates[metric][row] for _, row in drawn]
                low, high = [e.low for e in ends], [e.high for e in ends]
                axis.fill_between(xs, low, high, color=f"C{number}", alpha=0.15)
        axis.set_xlabel(result.parameter)
        axis.set_title(metric)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=130, format="png", metadata={"Software": None})
    plt.close(figure)
