"""Timings that can be compared on a noisy machine: calls take turns, medians count."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of one call over several turns.

    Args:
        median, low, high: the median and the first and last deciles, seconds.
    """

    median: float
    low: float
    high: float


def interleaved(
    calls: Mapping[str, Callable[[], object]], *, repeats: int, warm: int = 2
) -> dict[str, Timing]:
    """Returns the timing of each call; every turn runs all of them, each once.

    Args:
        calls: by name.
        repeats: turns that count, at least 1.
        warm: turns before them that do not.

    Raises:
        ValueError: repeats below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-warm, repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken = time.perf_counter() - start
            if turn >= 0:
                times[name].append(taken)
    return {name: _timing(values) for name, values in times.items()}


def _timing(values: list[float]) -> Timing:
    ordered = sorted(values)
    tenth = len(ordered) // 10
    return Timing(statistics.median(ordered), ordered[tenth], ordered[-1 - tenth])
