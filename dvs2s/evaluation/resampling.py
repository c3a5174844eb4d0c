"""Confidence intervals and significance by resampling messages, and seeds where there are several.

Paired: every system is measured on the same resamples of the messages, so that what makes a
message hard cancels in a difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvs2s.evaluation.measures import Measure

Floats = NDArray[np.float64]
_CHUNK = 64  # resamples at a time: the weights of all would fill the memory


@dataclass(frozen=True)
class Estimate:
    """A metric of one system.

    Args:
        value: mean over the seeds.
        low, high: ends of its 95 % interval.
        by_seed: the value of each seed.
        difference: value minus the baseline's; None for the baseline itself.
        p_value: of a difference at least as large if there were none, two-sided; None with it.
    """

    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    difference: float | None = None
    p_value: float | None = None


def estimates(
    systems: Mapping[str, Sequence[Measure]],
    num_replies: int,
    *,
    baseline: str = "",
    num_resamples: int = 1000,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> dict[str, Estimate]:
    """Returns the same metric of every system with its interval.

    The messages are drawn with replacement; halves of them without it for measures that count
    different things (see ``measures``), whose deviations have the same variance. With n > 1 seeds
    these are drawn with replacement too, and their deviations widened by √(n/(n-1)), without which
    few seeds look surer than they are. Seeds are paired by their place, so that systems made of the
    same trainings are compared within each; systems of unlike numbers of seeds are drawn apart.
    With one seed the interval speaks of the messages only.

    Args:
        systems: by name, one measure a seed, all of the same kind over the same messages.
        num_replies: N, at least 2.
        baseline: name of the system that the others are compared with; empty for none.
        num_resamples: at least 2.
        seed: of the resampling.
        bounds: least and greatest value that the metric can have; intervals end there, which
            deviations added to a value near its bound do not know of.

    Raises:
        ValueError: a system without a measure, an unknown baseline, or a number out of range.

    Source: Koehn 2004 (paired bootstrap); Shao and Wu 1989 (delete-half jackknife); Rao and Wu 1988
        (rescaling for few clusters); Efron and Tibshirani 1993, 16.4 (the p-value: deviations from
        the resamples' mean at least as large as the difference. sacrebleu's paired bootstrap counts
        deviations of absolute differences, one-sided, and finds smaller ones).
    """
    _check(systems, num_replies, baseline, num_resamples)
    ones = np.ones((1, num_replies))
    points = {n: np.array([m.values(ones)[0] for m in ms]) for n, ms in systems.items()}
    deviations = _deviations(systems, num_replies, num_resamples, seed)
    # the same seeds for all systems of as many: those that share a training share its luck
    spread = {
        name: _over_seeds(values, deviations[name], np.random.default_rng([seed, 1, len(values)]))
        for name, values in points.items()
    }
    found = {}
    for name, values in points.items():
        value = float(values.mean())
        low, high = np.clip(np.quantile(value + spread[name], [0.025, 0.975]), *bounds)
        difference = p_value = None
        if baseline and name != baseline:
            difference = value - float(points[baseline].mean())
            p_value = _p_value(difference, spread[name] - spread[baseline])
        by_seed = tuple(map(float, values))
        found[name] = Estimate(value, float(low), float(high), by_seed, difference, p_value)
    return found


def _deviations(
    systems: Mapping[str, Sequence[Measure]], num_replies: int, num_resamples: int, seed: int
) -> dict[str, Floats]:
    """Returns for each system (seeds, R): the measure on each resample minus their mean."""
    generator = np.random.default_rng([seed, 0])
    is_count = next(iter(systems.values()))[0].is_count
    draw = _halves if is_count else _with_replacement
    values: dict[str, list[Floats]] = {name: [] for name in systems}
    for first in range(0, num_resamples, _CHUNK):
        weights = draw(generator, min(_CHUNK, num_resamples - first), num_replies)
        for name, measures in systems.items():
            values[name].append(np.array([measure.values(weights) for measure in measures]))
    joined = {name: np.concatenate(parts, axis=1) for name, parts in values.items()}
    return {name: all_ - all_.mean(1, keepdims=True) for name, all_ in joined.items()}


def _with_replacement(generator: np.random.Generator, number: int, replies: int) -> Floats:
    rows = generator.integers(replies, size=(number, replies))
    drawn: Floats = np.stack([np.bincount(row, minlength=replies) for row in rows])
    return drawn.astype(np.float64)


def _halves(generator: np.random.Generator, number: int, replies: int) -> Floats:
    """Half of the replies: its mean's variance is that of a whole sample with replacement."""
    half = replies // 2
    chosen = generator.random((number, replies)).argpartition(half, axis=1)[:, :half]
    drawn = np.zeros((number, replies))
    np.put_along_axis(drawn, chosen, 1.0, axis=1)
    return drawn


def _over_seeds(points: Floats, deviations: Floats, generator: np.random.Generator) -> Floats:
    """Returns (R,) deviations of the mean over seeds, seeds resampled as well."""
    number, resamples = deviations.shape
    if number == 1:
        alone: Floats = deviations[0]
        return alone
    drawn = generator.integers(number, size=(resamples, number))
    between = (points - points.mean()) * np.sqrt(number / (number - 1))
    within = deviations.T[np.arange(resamples)[:, None], drawn]  # (R, seeds)
    spread: Floats = (within + between[drawn]).mean(1)
    return spread


def _p_value(difference: float, deviations: Floats) -> float:
    beyond = int((np.abs(deviations) >= abs(difference) - 1e-12).sum())
    return (beyond + 1) / (len(deviations) + 1)


def _check(
    systems: Mapping[str, Sequence[Measure]], num_replies: int, baseline: str, resamples: int
) -> None:
    empty = [name for name, measures in systems.items() if not measures]
    if not systems or empty:
        raise ValueError(f"systems must have a measure a seed, got none for {empty or 'any'}")
    if baseline and baseline not in systems:
        raise ValueError(f"baseline must be one of {', '.join(systems)}, got {baseline!r}")
    if num_replies < 2 or resamples < 2:
        raise ValueError(
            f"num_replies and num_resamples must be at least 2, got {num_replies} and {resamples}"
        )
