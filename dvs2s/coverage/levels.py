"""From the needs of held-out pairs to thresholds and sizes."""

import math
from collections.abc import Mapping, Sequence

from dvs2s.coverage.calibration import Kind, Level
from dvs2s.coverage.conformal import level_for_all, level_for_share
from dvs2s.coverage.needs import Needs

HIGHEST_THRESHOLD = 1 - 2.0**-24
"""Stands for a T that needs no word by β: the greatest that a float32 tells from 1."""
_LOWEST_THRESHOLD = 1e-30  # below, β is not told from 0: every word is needed
# Another batch, thread count or kernel sums β in another order. Without this margin the very pair
# that sets the threshold could miss it.
_MARGIN = 1e-4


def find_levels(
    needs: Mapping[bool, Needs], alphas: Sequence[float], *, vocabulary_size: int
) -> tuple[Level, ...]:
    """Returns the levels of every alpha, of all words and of a share of them.

    Args:
        needs: with the message's words in T (True) and without (False), or one of the two.
        alphas: each in (0, 1).
        vocabulary_size: V.

    Raises:
        ValueError: an alpha out of range.
    """
    kinds: tuple[Kind, ...] = ("all", "share")
    return tuple(
        Level(
            alpha,
            kind,
            message_words,
            as_threshold(level(some, kind, "threshold", alpha)),
            as_size(level(some, kind, "size", alpha), vocabulary_size),
        )
        for message_words, some in needs.items()
        for kind in kinds
        for alpha in alphas
    )


def level(needs: Needs, kind: Kind, rule: str, alpha: float) -> float:
    """Returns the level of one guarantee; ``rule`` is "threshold" or "size"."""
    if kind == "all":
        return level_for_all(needs.hardest(rule), alpha)
    return level_for_share(needs.of(rule), needs.weights, needs.pairs, alpha)


def as_threshold(found: float) -> float | None:
    """Returns a level of -β as a threshold of β, None for the full vocabulary."""
    if found == -math.inf:
        return HIGHEST_THRESHOLD
    threshold = -found * (1 - _MARGIN)
    return None if threshold < _LOWEST_THRESHOLD else min(threshold, HIGHEST_THRESHOLD)


def as_size(found: float, vocabulary_size: int) -> int:
    """Returns a level of |T| as a size; V is the full vocabulary."""
    if found == -math.inf:
        return 1  # the words that are always in
    return vocabulary_size if found > vocabulary_size else int(found)
