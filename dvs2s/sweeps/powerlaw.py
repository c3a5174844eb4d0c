"""Power laws of the loss: what would a bigger model, more data, more training bring?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# of the residual of log loss, as in Hoffmann et al.
_HUBER = 1e-3
_STARTS = 12


@dataclass(frozen=True)
class PowerLaw:
    """loss = floor + the sum over x of amount_x (x / scale_x) ^ -exponent_x.

    Args:
        names: of the x, such as "parameters".
        floor: what no size gets below, nats a word.
        amounts: by x, the loss above the floor at x = its scale.
        exponents: by x.
        scales: by x, the geometric mean of what was measured.
    """

    names: tuple[str, ...]
    floor: float
    amounts: tuple[float, ...]
    exponents: tuple[float, ...]
    scales: tuple[float, ...]

    def __call__(self, **sizes: float) -> float:
        """Returns the predicted loss, nats a word.

        Raises:
            ValueError: a size is missing, unknown or not above 0.
        """
        if set(sizes) != set(self.names) or any(not value > 0 for value in sizes.values()):
            raise ValueError(f"give {', '.join(self.names)}, each above 0, got {sizes}")
        parts = zip(self.names, self.amounts, self.exponents, self.scales, strict=True)
        return self.floor + sum(a * math.pow(sizes[n] / s, -e) for n, a, e, s in parts)


@dataclass(frozen=True)
class Fit:
    """A law and how sure it is.

    Args:
        law: fitted to all runs.
        resampled: the law fitted again to runs drawn with replacement.
        residual: root mean square of log(loss / predicted).
        num_runs: runs that were fitted.
    """

    law: PowerLaw
    resampled: tuple[PowerLaw, ...]
    residual: float
    num_runs: int

    def interval(self, values: Sequence[float], share: float = 0.9) -> tuple[float, float]:
        """Returns the central ``share`` of values, one a resampled law."""
        low, high = np.quantile(np.asarray(values), [(1 - share) / 2, (1 + share) / 2])
        return float(low), float(high)

    def exponent(self, name: str) -> tuple[float, float, float]:
        """Returns an exponent with its interval: (value, low, high)."""
        place = self.law.names.index(name)
        ends = self.interval([law.exponents[place] for law in self.resampled])
        return self.law.exponents[place], *ends

    def predict(self, **sizes: float) -> tuple[float, float, float]:
        """Returns the loss at some sizes with its interval: (value, low, high)."""
        ends = self.interval([law(**sizes) for law in self.resampled])
        return self.law(**sizes), *ends


def fit_power_law(
    sizes: Mapping[str, Sequence[float]],
    losses: Sequence[float],
    *,
    resamples: int = 200,
    seed: int = 0,
) -> Fit:
    """Returns the power law of runs, fitted jointly over all sizes, with a bootstrap over runs.

    Args:
        sizes: by name (N,) sizes of the runs, above 0, at least two values each.
        losses: (N,) of the runs, above 0, nats a word.
        resamples: 1 or more.
        seed: of the drawn runs and of the starts of the search.

    Raises:
        ValueError: fewer runs than numbers to fit, a size that does not vary, a loss below 0.

    Source:
        Hoffmann et al. (2022), Training Compute-Optimal Large Language Models, appendix D.2:
        Huber loss of the logarithm from several starts; Kaplan et al. (2020) for the form.
    """
    names = tuple(sizes)
    x = np.array([np.asarray(sizes[name], dtype=np.float64) for name in names])
    y = np.asarray(losses, dtype=np.float64)
    _check(names, x, y, resamples)
    rng = np.random.default_rng(seed)
    scales = np.exp(np.log(x).mean(axis=1))
    logs = np.log(x) - np.log(scales)[:, None]
    best = _search(logs, y, _starts(len(names), y, rng))
    resampled: list[PowerLaw] = []
    while len(resampled) < resamples:
        rows = rng.integers(len(y), size=len(y))
        if np.ptp(logs[:, rows], axis=1).min() > 0:  # else an exponent means nothing
            resampled.append(_law(names, _search(logs[:, rows], y[rows], [best]), scales))
    residual = np.log(y) - np.log(_predict(best, logs))
    return Fit(
        _law(names, best, scales),
        tuple(resampled),
        float(np.sqrt(np.mean(residual**2))),
        len(y),
    )


def _check(names: tuple[str, ...], x: Array, y: Array, resamples: int) -> None:
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    if x.shape != (len(names), len(y)):
        raise ValueError(f"sizes must have {len(y)} values each, as losses has, got {x.shape}")
    if not (np.isfinite(y).all() and (y > 0).all()):
        raise ValueError("losses must be finite and above 0")
    for name, values in zip(names, x, strict=True):
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError(f"sizes[{name!r}] must be finite and above 0")
        if np.ptp(values) == 0:
            raise ValueError(f"sizes[{name!r}] must vary, got {values[0]:g} in every run")
    wanted = 1 + 2 * len(names)
    if len(y) < wanted:
        raise ValueError(f"{wanted} numbers need as many runs at least, got {len(y)}")


def _starts(num_sizes: int, y: Array, rng: np.random.Generator) -> list[Array]:
    """Numbers to start from: log floor, then log amount and exponent of each size."""
    found = []
    for _ in range(_STARTS):
        floor = np.log(y.min() * rng.uniform(0.2, 0.98))
        amounts = np.log(np.ptp(y) + 1e-3) + rng.normal(0, 1, num_sizes)
        found.append(np.concatenate([[floor], amounts, rng.uniform(0.05, 1.0, num_sizes)]))
    return found


def _predict(numbers: Array, logs: Array) -> Array:
    amounts, exponents = numbers[1 : 1 + len(logs)], numbers[1 + len(logs) :]
    parts = np.exp(amounts[:, None] - exponents[:, None] * logs)
    result: Array = np.exp(numbers[0]) + parts.sum(axis=0)
    return result


def _search(logs: Array, y: Array, starts: Sequence[Array]) -> Array:
    from scipy.optimize import least_squares

    log_y, count = np.log(y), len(logs)
    low = np.concatenate([[-30.0], np.full(count, -30.0), np.zeros(count)])
    high = np.concatenate([[np.log(y.min())], np.full(count, 10.0), np.full(count, 5.0)])

    def slopes(numbers: Array) -> Array:
        amounts, exponents = numbers[1 : 1 + count], numbers[1 + count :]
        parts = np.exp(amounts[:, None] - exponents[:, None] * logs)
        floor = np.full(len(y), np.exp(numbers[0]))
        rows = np.concatenate([[floor], parts, -parts * logs]) / _predict(numbers, logs)
        return np.ascontiguousarray(rows.T)

    found = [
        least_squares(
            lambda numbers: np.log(_predict(numbers, logs)) - log_y,
            np.clip(start, low + 1e-9, high - 1e-9),
            jac=slopes,
            bounds=(low, high),
            loss="huber",
            f_scale=_HUBER,
        )
        for start in starts
    ]
    best: Array = min(found, key=lambda one: one.cost).x
    return best


def _law(names: tuple[str, ...], numbers: Array, scales: Array) -> PowerLaw:
    count = len(names)
    return PowerLaw(
        names,
        float(np.exp(numbers[0])),
        tuple(float(a) for a in np.exp(numbers[1 : 1 + count])),
        tuple(float(e) for e in numbers[1 + count :]),
        tuple(float(s) for s in scales),
    )
