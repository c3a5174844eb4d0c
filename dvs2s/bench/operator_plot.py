"""The operators' benchmark as a picture: how much faster than torch, how close to the machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvs2s.bench.operators import grouped


def draw(report: dict[str, Any], path: Path) -> None:
    """Draws a report of ``operators.run``: bars by shape, one colour a state of the caches.

    Args:
        report: with the ceilings, of compiled kernels.
        path: of a picture that matplotlib can write.

    Raises:
        ImportError: matplotlib is missing: ``pip install 'dvs2s[bench]'``.
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    rows = grouped(report)
    names = list(dict.fromkeys(name for name, _ in rows))
    panels: dict[str, Callable[[dict[str, dict[str, Any]]], float]] = {
        "times torch gathering the rows": lambda r: _over(r, "torch gather"),
        "times torch's full vocabulary": lambda r: _over(r, "torch dense"),
        "% of the binding ceiling": lambda r: 100 * (r["ours"]["share_of_ceiling"] or 0.0),
    }
    figure, axes = plt.subplots(
        1, 3, figsize=(15, 1.5 + 0.32 * len(names)), sharey=True, layout="constrained"
    )
    for axis, (title, value) in zip(axes, panels.items(), strict=True):
        for offset, (state, colour) in enumerate((("warm", "tab:orange"), ("cold", "tab:blue"))):
            values = [value(rows[name, state]) for name in names]
            places = [i + 0.4 * offset - 0.2 for i in range(len(names))]
            bars = axis.barh(places, values, 0.38, color=colour, label=f"{state} rows")
            axis.bar_label(bars, fmt="%.3g", fontsize=7, padding=2)
        axis.set_title(title)
        axis.margins(x=0.12)
    axes[2].axvline(100, color="grey", linewidth=0.8)
    axes[0].set_yticks(range(len(names)), names, fontsize=8)
    axes[0].invert_yaxis()
    axes[0].legend(loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _over(rows: dict[str, dict[str, Any]], provider: str) -> float:
    return float(rows[provider]["over_ours"])
