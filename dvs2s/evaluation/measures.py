"""Metrics as functions of which replies are counted how often, so that they can be resampled.

A measure is built once from all N replies and then gives its value for any weights (R, N): R
resamples, in each of which reply i counts ``weights[r, i]`` times. Weights of 1 are the metric
itself.

Sums over replies (BLEU, means) take bootstrap weights. What counts *different* things (distinct-n,
unique and generic replies) does not: a bootstrap sample holds every third reply twice or more, so
it always finds fewer different ones than there are. Those measures say ``is_count`` and are
resampled by halves, without repetition.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Replies = Sequence[Sequence[str]]


class Measure(Protocol):
    """A metric that can be taken of any weighting of the replies."""

    @property
    def is_count(self) -> bool:
        """Whether it counts different things, which a repetition does not add to."""
        ...

    def values(self, weights: Floats) -> Floats:
        """Returns the metric of each of R weightings (R, N): (R,) float64."""
        ...


@dataclass(frozen=True)
class Ratio:
    """Σ above / Σ below, 0 where nothing is below.

    Args:
        above: (N,) float64.
        below: (N,) float64, 0 or more.
    """

    above: Floats
    below: Floats
    is_count: bool = False

    def values(self, weights: Floats) -> Floats:
        """Returns the ratio of each weighting, (R,)."""
        return _divided(weights @ self.above, weights @ self.below)


def mean_of(scores: Floats) -> Ratio:
    """Returns the mean of (N,) scores; NaN is a reply that is not scored."""
    scored = ~np.isnan(scores)
    return Ratio(np.where(scored, scores, 0.0), scored.astype(np.float64))


class CorpusBleu:
    """BLEU with n-grams up to ``order``, the numbers of ``evaluation/bleu.py``.

    Args:
        replies: one list of tokens for each message.
        references: for each reply one or more lists of tokens.
        order: 1 to 4.

    Source: Papineni et al. 2002; Post 2018 (sacrebleu's exponential smoothing).
    """

    is_count = False

    def __init__(self, replies: Replies, references: Sequence[Replies], *, order: int) -> None:
        if not 1 <= order <= 4:
            raise ValueError(f"order must be 1 to 4, got {order}")
        self._order = order
        self._statistics = np.array(
            [_statistics(r, g, order) for r, g in zip(replies, references, strict=True)],
            dtype=np.float64,
        ).reshape(len(replies), 2 + 2 * order)

    def values(self, weights: Floats) -> Floats:
        """Returns BLEU of each weighting, (R,), 0 to 100."""
        sums = weights @ self._statistics  # (R, 2 + 2·order)
        return np.array([self._score(row) for row in sums])

    def _score(self, sums: Floats) -> float:
        length, closest = sums[0], sums[1]
        matches, totals = sums[2 : 2 + self._order], sums[2 + self._order :]
        if not matches.any() or not totals.all():
            return 0.0
        logs, halvings = 0.0, 1.0
        for match, total in zip(matches, totals, strict=True):
            if match == 0:
                halvings *= 2
            logs += float(np.log((match or 1 / halvings) / total))
        brevity = min(1.0, float(np.exp(1 - closest / length)))
        return 100 * brevity * float(np.exp(logs / self._order))


def _statistics(reply: Sequence[str], references: Replies, order: int) -> list[int]:
    """Returns length, length of the closest reference, matches and n-grams of each order."""
    lengths = [len(reference) for reference in references]
    closest = min(lengths, key=lambda n: (abs(n - len(reply)), n))
    matches, totals = [], []
    for n in range(1, order + 1):
        said = Counter(_ngrams(reply, n))
        most: Counter[Hashable] = Counter()
        for reference in references:
            most |= Counter(_ngrams(reference, n))
        matches.append((said & most).total())
        totals.append(said.total())
    return [len(reply), closest, *matches, *totals]


class Distinct:
    """Different n-grams per generated token.

    Args:
        replies: lists of tokens.
        n: at least 1.

    Source: Li et al. 2016, section 5.2.
    """

    is_count = True

    def __init__(self, replies: Replies, *, n: int) -> None:
        ngrams = [list(_ngrams(reply, n)) for reply in replies]
        self._types = _numbered(list(chain.from_iterable(ngrams)))
        self._owners = np.repeat(np.arange(len(replies)), [len(found) for found in ngrams])
        self._lengths = np.array([len(reply) for reply in replies], dtype=np.float64)

    def values(self, weights: Floats) -> Floats:
        """Returns distinct-n of each weighting, (R,)."""
        different = [_present(self._types, row[self._owners]) for row in weights > 0]
        return _divided(np.array(different, dtype=np.float64), weights @ self._lengths)


class Unique:
    """Different replies by replies."""

    is_count = True

    def __init__(self, replies: Replies) -> None:
        self._types = _numbered([tuple(reply) for reply in replies])

    def values(self, weights: Floats) -> Floats:
        """Returns the share of each weighting, (R,)."""
        different = [_present(self._types, row) for row in weights > 0]
        return _divided(np.array(different, dtype=np.float64), weights.sum(1))


class Generic:
    """Share of replies among the ``most_frequent`` most frequent replies of the same set."""

    is_count = True

    def __init__(self, replies: Replies, *, most_frequent: int = 20) -> None:
        if most_frequent < 1:
            raise ValueError(f"most_frequent must be at least 1, got {most_frequent}")
        self._types = _numbered([tuple(reply) for reply in replies])
        self._most = most_frequent

    def values(self, weights: Floats) -> Floats:
        """Returns the share of each weighting, (R,)."""
        held = [np.bincount(self._types, weights=row) for row in weights]
        frequent = [float(np.sort(counts)[-self._most :].sum()) for counts in held]
        return _divided(np.array(frequent, dtype=np.float64), weights.sum(1))


def _ngrams(tokens: Sequence[str], n: int) -> zip:  # type: ignore[type-arg]
    return zip(*(tokens[start:] for start in range(n)), strict=False)


def _numbered(things: Sequence[Hashable]) -> NDArray[np.int64]:
    """Returns a number for each thing, equal for equal ones."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(t, len(numbers)) for t in things], dtype=np.int64)


def _present(types: NDArray[np.int64], mask: NDArray[np.bool_]) -> int:
    """Returns how many different types there are where the mask is True."""
    seen = np.zeros(int(types.max(initial=-1)) + 1, dtype=np.bool_)
    seen[types[mask]] = True
    return int(seen.sum())


def _divided(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
