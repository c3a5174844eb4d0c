"""Interleaved runs: every contender in turn, round after round, so that all share the noise."""

import functools
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm


@dataclass(frozen=True)
class Timed:
    """The runs of one contender.

    Args:
        seconds: one a round.
        stages: one dict a round, seconds by stage; empty dicts where a contender names none.
        peak_bytes: by which a run raised the process's memory, at most; 0 where unknown.
    """

    seconds: list[float]
    stages: list[dict[str, float]]
    peak_bytes: int

    def quantile(self, share: float) -> float:
        """Returns the seconds that ``share`` of the runs stay within, between runs in line."""
        ordered = sorted(self.seconds)
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    def median(self) -> float:
        """Returns the median seconds."""
        return self.quantile(0.5)

    def spread(self) -> dict[str, float]:
        """Returns median, first and last decile, seconds, as ``median``, ``low`` and ``high``."""
        return {"median": self.median(), "low": self.quantile(0.1), "high": self.quantile(0.9)}

    def median_stages(self) -> dict[str, float]:
        """Returns the median seconds of each stage."""
        names = self.stages[0] if self.stages else {}
        return {
            name: Timed([run[name] for run in self.stages], [], 0).quantile(0.5) for name in names
        }


CLOCKS: dict[str, Callable[[], float]] = {
    "wall": time.perf_counter,
    "cpu": time.process_time,  # of all threads: on one thread, what others do to the cores is out
}


def _repeat(run: Callable[[int], object]) -> None:
    for _ in range(3):
        run(0)


def _evict(_: object) -> None:
    _something_large().sum()


@functools.cache
def _something_large() -> torch.Tensor:
    return torch.ones(16 * 1024 * 1024)  # 64 MB: more than the caches hold


STATES: dict[str, Callable[[Callable[[int], object]], object]] = {
    "warm": _repeat,  # as one step of a response finds what the steps before it read
    "cold": _evict,  # as a response's first step finds the rows of its vocabulary
}
"""How a call finds the caches: after three calls of itself, or after something large."""


def interleave(
    runs: Sequence[Callable[[int], dict[str, float]]],
    *,
    rounds: int,
    warm_up: int,
    title: str,
    clock: str = "wall",
    before: Callable[[Callable[[int], object]], object] | None = None,
) -> list[Timed]:
    """Times each run once a round; the number of the round is what it is called with.

    Args:
        runs: each returns its seconds by stage, or an empty dict.
        rounds: timed ones, at least 1.
        warm_up: rounds before, not counted.
        title: of the progress bar on standard error.
        clock: a name of ``CLOCKS``.
        before: called with a run just before it is timed, itself untimed.

    Raises:
        ValueError: fewer than 1 round.
    """
    now = CLOCKS[clock]
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    seconds: list[list[float]] = [[] for _ in runs]
    stages: list[list[dict[str, float]]] = [[] for _ in runs]
    peaks = [0] * len(runs)
    with tqdm(total=(warm_up + rounds) * len(runs), desc=title, disable=None) as bar:
        for number in range(-warm_up, rounds):
            for index, run in enumerate(runs):
                if before is not None:
                    before(run)
                bytes_before = forget_peak()
                start = now()
                by_stage = run(number + warm_up)
                took = now() - start
                if number >= 0:
                    seconds[index].append(took)
                    stages[index].append(by_stage)
                    peaks[index] = max(peaks[index], peak_bytes() - bytes_before)
                bar.update()
    return [
        Timed(s, t if any(t) else [], p) for s, t, p in zip(seconds, stages, peaks, strict=True)
    ]


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warm: int = 2,
    before: Callable[[Callable[[int], object]], object] | None = None,
) -> dict[str, Timed]:
    """Times named calls that know no stages, in turn.

    Args:
        calls: by name.
        repeats: turns that count, at least 1.
        warm: turns before them that do not.
        before: as of ``interleave``; ``STATES`` has two.

    Raises:
        ValueError: repeats below 1.
    """

    def staged(call: Callable[[], object]) -> Callable[[int], dict[str, float]]:
        def run(_: int) -> dict[str, float]:
            call()
            return {}

        return run

    runs = [staged(call) for call in calls.values()]
    timed = interleave(runs, rounds=repeats, warm_up=warm, title="turns", before=before)
    return dict(zip(calls, timed, strict=True))


def environment() -> dict[str, Any]:
    """Returns what a figure has to be read with: machine, versions, threads, who else was busy."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }


def read_bandwidth(clock: str = "wall") -> float:
    """Returns bytes a second that all threads together read from memory, the best of five."""
    now = CLOCKS[clock]
    block = torch.ones(32 * 1024 * 1024)  # 128 MB: more than the caches hold
    best = float("inf")
    for _ in range(5):
        start = now()
        block.sum()
        best = min(best, now() - start)
    return block.numel() * 4 / best


def resident_bytes() -> int:
    """Returns the process's memory; 0 where the system does not say."""
    return _status("VmRSS")


def peak_bytes() -> int:
    """Returns the most memory since ``forget_peak``; 0 where the system does not say."""
    return _status("VmHWM")


def forget_peak() -> int:
    """Sets the recorded peak back to the memory in use, and returns that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _status("VmHWM")
    return _status("VmRSS")


def _status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    found = [line for line in lines if line.startswith(f"{name}:")]
    return int(found[0].split()[1]) * 1024 if found else 0


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
