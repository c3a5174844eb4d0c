"""How long a reply takes, row beside row.

Rounds are interleaved: in each round every row answers the same messages, one after the other, and
a row's ratio is taken within the round. What slows the machine for a while slows all rows alike.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dvs2s.table.decode import Ids, Speaker


@dataclass(frozen=True)
class Times:
    """Times of one row.

    Args:
        milliseconds: a reply, the median of the rounds.
        low, high: lowest and highest round, milliseconds a reply.
        ratio: to the baseline's time in the same round, the median; 1 for the baseline.
    """

    milliseconds: float
    low: float
    high: float
    ratio: float


def time_rows(
    speakers: Mapping[str, Speaker],
    messages: Sequence[Ids],
    *,
    baseline: str,
    rounds: int,
    advance: Callable[[int], object] = lambda rows: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Times every row on messages answered one at a time, after one round that does not count.

    Args:
        speakers: the rows by name.
        messages: ids of at least one message.
        baseline: the row of ratio 1.
        rounds: at least 1.
        advance: told when a row of a round is done.
        clock: returns seconds.

    Raises:
        ValueError: no message, no round, or an unknown baseline.
    """
    if not messages or rounds < 1:
        raise ValueError(
            f"messages and rounds must be at least 1, got {len(messages)} and {rounds}"
        )
    if baseline not in speakers:
        raise ValueError(f"baseline must be one of {', '.join(speakers)}, got {baseline!r}")
    seconds: dict[str, list[float]] = {name: [] for name in speakers}
    names = list(speakers)
    for number in range(rounds + 1):
        shift = number % len(names)  # no row is always the first after a pause
        for name in names[shift:] + names[:shift]:
            start = clock()
            for place, message in enumerate(messages):
                speakers[name].answers([message], [place])
            if number:
                seconds[name].append((clock() - start) / len(messages))
            advance(1)
    return {name: _summary(values, seconds[baseline]) for name, values in seconds.items()}


def _summary(seconds: Sequence[float], baseline: Sequence[float]) -> Times:
    ratios = [own / other for own, other in zip(seconds, baseline, strict=True)]
    middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
    return Times(1000 * middle, 1000 * low, 1000 * high, statistics.median(ratios))
