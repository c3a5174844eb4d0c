"""Pictures of a result: bars with intervals, quality against |T| and time, curves of a study."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvs2s.errors import Dvs2sError
from dvs2s.table.result import Result

SHOWN = ("BLEU-2", "Average", "distinct-2", "generic share")
STUDIED = (*SHOWN, "T token recall", "ms a reply")
_LESS_IS_BETTER = ("generic share", "ms a reply")
_MARKERS = "osD^vP*X<>h"  # 11 beside matplotlib's 10 colours: 110 rows before two look alike
_NEAR = 0.014  # of an axis: rows nearer than that are drawn side by side
_NARROW = 0.3  # of the largest value: a smaller spread is drawn as dots on an axis of its own
_WIDE = 8  # greatest by least value along a curve: more asks for a logarithmic axis


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


def _bars(result: Result, path: Path) -> None:
    figure, axes = _panels(result, len(SHOWN), 0.9 + 0.32 * len(result.rows))
    for axis, metric in zip(axes, SHOWN, strict=False):
        shown = result.estimates[metric]
        top, bottom = max(e.high for e in shown.values()), min(e.low for e in shown.values())
        # a bar has to start at 0, where differences such as those of Average cannot be seen
        is_bar = top - bottom > _NARROW * abs(top)
        for place, row in enumerate(reversed(result.rows)):
            color, value = "C1" if row == result.baseline else "C0", shown[row].value
            if is_bar:
                axis.barh(place, value, color=color, zorder=2)
            style = {"fmt": "none", "ecolor": "black"} if is_bar else {"fmt": "o", "color": color}
            axis.errorbar(value, place, xerr=_ends(result, metric, row), capsize=3, **style)
        axis.set_yticks(range(len(result.rows)), labels=list(reversed(result.rows)))
        _titled(axis, metric)
        axis.grid(axis="x", alpha=0.3)
    _save(figure, path)


def _against(result: Result, x: str, path: Path) -> None:
    figure, axes = _panels(result, len(SHOWN), 3.2)
    places = {row: result.value(row, x) for row in result.rows}
    there = {row: place for row, place in places.items() if place is not None}
    drawn = _side_by_side(there)
    for axis, metric in zip(axes, SHOWN, strict=False):
        for number, (row, place) in enumerate(drawn.items()):
            value, ends = result.estimates[metric][row].value, _ends(result, metric, row)
            style = {"fmt": _MARKERS[number % len(_MARKERS)], "color": f"C{number}"}
            if number >= 10:  # the colours begin again: hollow, to be told apart at a glance
                style["markerfacecolor"] = "white"
            axis.errorbar(place, value, yerr=ends, capsize=2, markersize=5, label=row, **style)
        axis.set_xlim(0, 1.08 * max(drawn.values(), default=1))
        axis.set_xlabel(x)
        _titled(axis, metric)
        axis.grid(alpha=0.3)
    _legend(figure, axes[0])
    _save(figure, path)


def _side_by_side(places: dict[str, float]) -> dict[str, float]:
    """Returns where to draw each row: those at one place are moved apart, evenly about it.

    |T| is the same for half of the rows, whose intervals would cover one another.
    """
    step = _NEAR * max(places.values(), default=1.0)
    groups: list[list[str]] = []
    for row in sorted(places, key=lambda row: places[row]):
        if groups and places[row] - places[groups[-1][0]] < step:
            groups[-1].append(row)
        else:
            groups.append([row])
    moved = dict(places)
    for group in groups:
        members = [row for row in places if row in group]
        for number, row in enumerate(members):
            moved[row] = places[row] + step * (number - (len(members) - 1) / 2)
    return moved


def _curves(result: Result, path: Path) -> None:
    shown = [m for m in STUDIED if any(result.value(row, m) is not None for row in result.rows)]
    figure, axes = _panels(result, len(shown), 3.2)
    series = list(dict.fromkeys(point.series for point in result.points.values()))
    places = sorted({point.x for point in result.points.values()})
    for axis, metric in zip(axes, shown, strict=False):
        for number, name in enumerate(series):
            members = [row for row, point in result.points.items() if point.series == name]
            pairs = [(result.points[row].x, row) for row in members]
            drawn = [(x, row) for x, row in sorted(pairs) if result.value(row, metric) is not None]
            xs, ys = [x for x, _ in drawn], [result.value(row, metric) for _, row in drawn]
            marker = _MARKERS[number % len(_MARKERS)]
            # curves that lie on each other stay visible: the later ones are thinner
            width = 1 + 0.8 * (len(series) - 1 - number)
            axis.plot(xs, ys, f"{marker}-", color=f"C{number}", label=name, linewidth=width)
            if metric in result.estimates:
                ends = [result.estimates[metric][row] for _, row in drawn]
                low, high = [e.low for e in ends], [e.high for e in ends]
                axis.fill_between(xs, low, high, color=f"C{number}", alpha=0.12)
        if places[0] > 0 and places[-1] / places[0] >= _WIDE:
            axis.set_xscale("log")
            axis.set_xticks(places, labels=[f"{x:g}" for x in places], minor=False)
            axis.minorticks_off()
        axis.set_xlabel(result.parameter)
        _titled(axis, metric)
        axis.grid(alpha=0.3)
    _legend(figure, axes[0])
    _save(figure, path)


def _panels(result: Result, count: int, height: float) -> tuple[Any, list[Any]]:
    import matplotlib.pyplot as plt

    rows = -(-count // 2)
    figure, axes = plt.subplots(
        rows, 2, figsize=(8.4, height * rows + 0.3), layout="constrained", squeeze=False
    )
    figure.suptitle(result.name)
    flat = list(axes.flat)
    for unused in flat[count:]:
        unused.set_axis_off()
    return figure, flat


def _ends(result: Result, metric: str, row: str) -> list[list[float]]:
    """Returns how far the interval reaches below and above the value."""
    estimate = result.estimates[metric][row]
    # an interval that leaves its value out would have a length below 0
    below, above = estimate.value - estimate.low, estimate.high - estimate.value
    return [[max(below, 0.0)], [max(above, 0.0)]]


def _titled(axis: Any, metric: str) -> None:
    axis.set_title(f"{metric} (less is better)" if metric in _LESS_IS_BETTER else metric)


def _legend(figure: Any, axis: Any) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=130, format="png", metadata={"Software": None})
    plt.close(figure)
