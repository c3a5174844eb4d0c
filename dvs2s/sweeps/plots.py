"""Pictures of a sweep: parallel coordinates, and the loss against each size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dvs2s.errors import DataError, Dvs2sError
from dvs2s.sweeps.scaling import SIZES, Scaling
from dvs2s.sweeps.summary import LOSS, Summary


def check_matplotlib() -> None:
    """Checks that pictures can be drawn here, without a screen.

    Raises:
        Dvs2sError: matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise Dvs2sError(
            f"pictures need matplotlib ({error}): pip install 'dvs2s[sweep]'"
        ) from error
    matplotlib.use("agg")


def parallel_coordinates(summary: Summary, path: Path) -> None:
    """Draws each job as a line through its options and values, coloured by its loss.

    Args:
        summary: of the sweep; jobs without a loss are left out, the pruned ones dashed.
        path: of the PNG.

    Raises:
        DataError: no job has a loss.
    """
    import matplotlib.pyplot as plt
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    rows = [row for row in summary.rows if LOSS in row["values"]]
    if not rows:
        raise DataError(f"{summary.folder}: no job has a loss yet, there is nothing to draw")
    names = [*summary.options, *[n for n in summary.measures if n != LOSS], LOSS]
    columns = [_Axis(name, [_value(row, name) for row in rows]) for name in names]
    losses = [row["values"][LOSS] for row in rows]
    colours = ScalarMappable(Normalize(min(losses), max(losses)), "viridis")
    figure, axis = plt.subplots(figsize=(max(5.0, 1.9 * len(names)), 4.4), layout="constrained")
    for place, row in reversed(list(enumerate(rows))):
        heights = [column.spread[place] for column in columns]
        pruned = row["state"] != "finished"
        axis.plot(
            range(len(names)),
            heights,
            color=colours.to_rgba(losses[place]),
            linestyle="--" if pruned else "-",
            linewidth=3.0 if row is summary.best else 1.4,
            alpha=0.9,
        )
    for place, column in enumerate(columns):
        axis.axvline(place, color="0.4", linewidth=0.8, zorder=0)
        for height, label in column.ticks:
            axis.annotate(
                label,
                (place, height),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=8,
                va="center",
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75},
            )
    axis.set_xticks(range(len(names)), names, fontsize=9)
    axis.set_xlim(-0.15, len(names) - 0.55)
    axis.set_yticks([])
    for side in ("left", "right", "top", "bottom"):
        axis.spines[side].set_visible(False)
    axis.tick_params(length=0)
    figure.colorbar(colours, ax=axis, label=f"{LOSS}, nats a response word", pad=0.01)
    axis.set_title(f"{len(rows)} jobs; thick: best; dashed: given up", fontsize=10)
    _save(figure, path)


def scaling_picture(scaling: Scaling, path: Path) -> None:
    """Draws the loss against each size and against compute, with the fitted laws.

    Args:
        scaling: of the sweep.
        path: of the PNG.
    """
    import matplotlib.pyplot as plt

    names = scaling.joint.law.names
    panels = len(names) + 1
    figure, axes = plt.subplots(1, panels, figsize=(4.3 * panels, 3.8), layout="constrained")
    losses = [row["loss"] for row in scaling.rows]
    for axis, name in zip(axes, names, strict=False):
        axis.scatter([row[name] for row in scaling.rows], losses, s=16, color="C0", alpha=0.7)
        xs = _grid([row[name] for row in scaling.rows], beyond=4.0)
        laws = [_at_largest(law, scaling, name, xs) for law in scaling.joint.resampled]
        low, high = np.quantile(np.array(laws), [0.05, 0.95], axis=0)
        axis.fill_between(xs, low, high, color="C1", alpha=0.25, linewidth=0)
        axis.plot(xs, _at_largest(scaling.joint.law, scaling, name, xs), color="C1")
        value, least, most = scaling.joint.exponent(name)
        _finish(axis, SIZES[name], f"exponent {value:.2f} ({least:.2f} to {most:.2f})")
    compute = axes[-1]
    compute.scatter([row["compute"] for row in scaling.rows], losses, s=16, color="0.7")
    front = scaling.frontier_rows
    compute.scatter([row["compute"] for row in front], [row["loss"] for row in front], s=24)
    title = "too few runs on the frontier"
    if scaling.frontier is not None:
        xs = _grid([row["compute"] for row in front], beyond=4.0)
        compute.plot(xs, [scaling.frontier.law(compute=x) for x in xs], color="C1")
        value, least, most = scaling.frontier.exponent("compute")
        title = f"frontier: exponent {value:.2f} ({least:.2f} to {most:.2f})"
    _finish(compute, "compute, FLOP (estimate)", title)
    axes[0].set_ylabel("validation loss, nats a response word")
    figure.suptitle("line: the joint law with the other sizes at their largest; band: 90 %", size=9)
    _save(figure, path)


class _Axis:
    """Heights between 0 and 1 of one column's values, and what is written beside them."""

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        numbers = [_number(value) for value in values]
        known = [number for number in numbers if number is not None]
        if len(known) < len(values):
            self.heights, self.ticks = _categories([str(value) for value in values])
        else:
            self.heights, self.ticks = _scale(known)
        self.spread = _spread(self.heights)


def _categories(texts: Sequence[str]) -> tuple[list[float], list[tuple[float, str]]]:
    distinct = sorted(set(texts))
    last = max(len(distinct) - 1, 1)
    places = {text: place / last for place, text in enumerate(distinct)}
    return [places[text] for text in texts], [(height, text) for text, height in places.items()]


def _scale(numbers: Sequence[float]) -> tuple[list[float], list[tuple[float, str]]]:
    low, high = min(numbers), max(numbers)
    is_log = low > 0 and high / low >= 8
    scaled = np.log(numbers) if is_log else np.array(numbers, dtype=float)
    heights = ((scaled - scaled.min()) / (np.ptp(scaled) or 1.0)).tolist()
    distinct = sorted(set(zip(numbers, heights, strict=True)))
    if len(distinct) > 6:
        middle = min(distinct, key=lambda pair: abs(pair[1] - 0.5))
        distinct = sorted({distinct[0], middle, distinct[-1]})
    return heights, [(height, f"{number:.4g}") for number, height in distinct]


def _spread(heights: Sequence[float]) -> list[float]:
    """Returns the heights with equal ones moved a little apart, so that no line hides another."""
    found = []
    for place, height in enumerate(heights):
        alike = [i for i, other in enumerate(heights) if other == height]
        middle = (len(alike) - 1) / 2
        step = 0.05 / max(len(alike) - 1, 1)
        found.append(height + step * (alike.index(place) - middle))
    return found


def _value(row: dict[str, Any], name: str) -> Any:
    return row["options"].get(name, row["values"].get(name, "—"))


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _grid(values: Sequence[float], *, beyond: float) -> Any:
    return np.geomspace(min(values), max(values) * beyond, 60)


def _at_largest(law: Any, scaling: Scaling, name: str, xs: Any) -> list[float]:
    return [law(**{**scaling.largest, name: float(x)}) for x in xs]


def _finish(axis: Any, label: str, title: str) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.xaxis.set_minor_formatter("")
    axis.yaxis.set_major_formatter("{x:.3g}")
    axis.yaxis.set_minor_formatter("{x:.3g}")
    axis.tick_params(axis="y", which="minor", labelsize=8)
    axis.set_xlabel(label)
    axis.set_title(title, fontsize=9)
    axis.grid(alpha=0.3)


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=130)
    plt.close(figure)
