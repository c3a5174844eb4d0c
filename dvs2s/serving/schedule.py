"""Which of the waiting jobs are answered next, and which together."""

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from dvs2s.config import SearchConfig
from dvs2s.serving.wire import Job


@dataclass(frozen=True)
class Waiting:
    """A job and what it may share a batch by: its model and its search."""

    job: Job
    config: SearchConfig
    cells: int

    @property
    def key(self) -> Hashable:
        """Equal for jobs that may be answered together."""
        return self.job.model, str(self.config)


def cells(config: SearchConfig, words: int, expected: int) -> int:
    """Returns hypotheses times words of T: what one job adds to the width of a step.

    Args:
        config: the search.
        words: V.
        expected: words of T where a threshold decides; at least 1.
    """
    size = {"size": min(config.size, words), "threshold": min(expected, words)}
    hypotheses = config.beam if "beam" in config.kind else config.num_best
    return hypotheses * size.get(config.vocabulary, words)


def next_batch(waiting: Sequence[Waiting], most: int, budget: int) -> list[Waiting]:
    """Returns the oldest job and, in order, the others that fit in with it.

    Args:
        waiting: oldest first, at least one.
        most: jobs in a batch.
        budget: cells in a batch; a job above it is answered alone.
    """
    first, chosen, used = waiting[0], [waiting[0]], waiting[0].cells
    for other in waiting[1:]:
        if len(chosen) >= most:
            break
        if other.key == first.key and used + other.cells <= budget:
            chosen.append(other)
            used += other.cells
    return chosen


def joining(line: deque[Waiting], most: int, budget: int, *, is_empty: bool) -> list[Waiting]:
    """Takes out of the line who may join a running batch now, in order.

    Nobody is overtaken: a job for which there is no room yet keeps those behind it waiting.

    Args:
        line: oldest first.
        most: free places.
        budget: free cells.
        is_empty: whether nobody is in the batch: then a job above the whole budget may go alone.
    """
    chosen: list[Waiting] = []
    while line and len(chosen) < most:
        fits = line[0].cells <= budget or (is_empty and not chosen)
        if not fits:
            break
        budget -= line[0].cells
        chosen.append(line.popleft())
    return chosen
