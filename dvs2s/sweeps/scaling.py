"""A scaling study: the runs of a sweep under one power law, and what more of each would bring."""

from dataclasses import dataclass
from typing import Any

from dvs2s.errors import DataError
from dvs2s.sweeps.powerlaw import Fit, fit_power_law
from dvs2s.sweeps.summary import Summary

SIZES = {"parameters": "parameters", "words": "response words of training", "tokens": "words seen"}
"""Facts of a run that the joint law is over, and how people call them."""

# An exponent whose interval is wider says nothing: laws of losses have exponents below 1.
_UNKNOWN = 1.0


@dataclass(frozen=True)
class Scaling:
    """What a sweep says about size.

    Args:
        rows: facts of each finished run with its "loss".
        joint: the law over those of ``SIZES`` that vary.
        frontier: loss against compute, of the runs that no cheaper one matches; None where
            these are too few.
        frontier_rows: those runs.
    """

    rows: tuple[dict[str, float], ...]
    joint: Fit
    frontier: Fit | None
    frontier_rows: tuple[dict[str, float], ...]

    @property
    def largest(self) -> dict[str, float]:
        """The largest of each size that was run, to extrapolate from."""
        return {name: max(row[name] for row in self.rows) for name in self.joint.law.names}


def study(summary: Summary, *, resamples: int, seed: int = 0) -> Scaling:
    """Returns the laws of a sweep's finished runs.

    Args:
        summary: of the sweep.
        resamples: of the bootstrap over runs, 1 or more.
        seed: of the bootstrap.

    Raises:
        DataError: too few runs, or nothing that varies.
    """
    rows = tuple(
        {**row["facts"], "loss": row["values"]["loss"]}
        for row in summary.rows
        if row["state"] == "finished" and "loss" in row["values"] and row["facts"]
    )
    names = [name for name in SIZES if len({row[name] for row in rows}) > 1]
    if not names:
        raise DataError(
            f"{summary.folder}: neither {', '.join(SIZES)} vary in its {len(rows)} finished jobs: "
            f"a scaling study needs some, as sweep=scaling has"
        )
    losses = [row["loss"] for row in rows]
    try:
        joint = fit_power_law(
            {name: [row[name] for row in rows] for name in names},
            losses,
            resamples=resamples,
            seed=seed,
        )
    except ValueError as error:
        raise DataError(f"{summary.folder}: no power law: {error}") from error
    front = _front(rows)
    frontier = None
    if len(front) >= 4:
        compute = {"compute": [row["compute"] for row in front]}
        frontier = fit_power_law(
            compute, [row["loss"] for row in front], resamples=resamples, seed=seed
        )
    return Scaling(rows, joint, frontier, front)


def predictions(scaling: Scaling, factors: tuple[float, ...] = (2.0, 4.0, 10.0)) -> list[Any]:
    """Returns (what is multiplied, by how much, loss, low, high) from the largest sizes run."""
    base = scaling.largest
    found: list[Any] = [("nothing", 1.0, *scaling.joint.predict(**base))]
    for name in [*base, "all"]:
        for factor in factors:
            sizes = {n: v * factor if name in (n, "all") else v for n, v in base.items()}
            found.append((name, factor, *scaling.joint.predict(**sizes)))
    return found


def scaling_markdown(scaling: Scaling) -> str:
    """Returns the laws and the predictions for people."""
    fit = scaling.joint
    low, high = fit.interval([law.floor for law in fit.resampled])
    lines = [
        f"Power law of {fit.num_runs} runs, loss in nats a response word "
        f"(90 % intervals by {len(fit.resampled)} resamples of the runs):",
        "",
        "| | exponent | 90 % | loss above the floor | at |",
        "|---|---|---|---|---|",
    ]
    for place, name in enumerate(fit.law.names):
        value, least, most = fit.exponent(name)
        amount, scale = fit.law.amounts[place], fit.law.scales[place]
        shown = f"{least:.3f} to {most:.3f}"
        if most - least > _UNKNOWN:
            shown += ", not determined by these runs"
        lines.append(f"| {SIZES[name]} | {value:.3f} | {shown} | {amount:.3f} | {scale:,.0f} |")
    lines += [
        f"| floor | | {low:.3f} to {high:.3f} | {fit.law.floor:.3f} | |",
        "",
        f"Root mean square of log(loss / predicted): {fit.residual:.4f}.",
    ]
    if scaling.frontier is not None:
        value, least, most = scaling.frontier.exponent("compute")
        lines.append(
            f"Loss against compute, {scaling.frontier.num_runs} runs of the frontier: exponent "
            f"{value:.3f} ({least:.3f} to {most:.3f}), floor {scaling.frontier.law.floor:.3f}."
        )
    lines += ["", "| multiplied | by | predicted loss | 90 % |", "|---|---|---|---|"]
    for name, factor, loss, least, most in predictions(scaling):
        what = SIZES.get(name, name)
        lines.append(f"| {what} | {factor:g} | {loss:.3f} | {least:.3f} to {most:.3f} |")
    return "\n".join([*lines, ""])


def _front(rows: tuple[dict[str, float], ...]) -> tuple[dict[str, float], ...]:
    """Returns the runs that no run of as little compute or less beats, cheapest first."""
    found: list[dict[str, float]] = []
    for row in sorted(rows, key=lambda row: (row["compute"], row["loss"])):
        if not found or row["loss"] < found[-1]["loss"]:
            found.append(row)
    return tuple(found)
