"""Levels with a finite-sample guarantee, from the needs of held-out pairs.

The *need* of a word is the smallest level at which T holds it: -β where T is chosen by a threshold
(T at level λ holds the words of β >= -λ), a rank where T is chosen by size. T grows with the level.
Levels are infinite where every word is needed and minus infinite where none is.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# (n + 1) alpha is a whole number for alphas that people write, and floating point may miss it
_ROUNDING = 1e-9


def check_alpha(alpha: float) -> None:
    """Checks a miscoverage.

    Raises:
        ValueError: it does not lie between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise ValueError(
            f"alpha must lie between 0 and 1, got {alpha}: 0.05 is for 95 of 100 replies"
        )


def level_for_all(needs: Floats, alpha: float) -> float:
    """Returns the level at which a new pair's words are all held with probability >= 1 - alpha.

    That is the k-th smallest need, k = ceil((n + 1)(1 - alpha)). The probability is over the n
    pairs and the new one, which are exchangeable; equal needs only raise it.

    Args:
        needs: (n,) of each pair the need of its hardest word.
        alpha: in (0, 1).

    Returns:
        the level; infinite when n is too small for alpha, k > n.

    Raises:
        ValueError: alpha out of range.

    Source: Vovk et al. 2005; Lei et al. 2018, split conformal prediction.
    """
    check_alpha(alpha)
    allowed = misses(len(needs), alpha)
    if allowed == 0:
        return math.inf
    return float(np.sort(needs)[len(needs) - allowed])


def misses(pairs: int, alpha: float) -> int:
    """Returns l = floor((n + 1) alpha): k = n + 1 - l."""
    return math.floor((pairs + 1) * alpha + _ROUNDING)


def level_for_share(needs: Floats, weights: Floats, pairs: int, alpha: float) -> float:
    """Returns the level at which T holds an expected share >= 1 - alpha of a new pair's words.

    The smallest λ with (Σ_i L_i(λ) + 1) / (n + 1) <= alpha, where L_i(λ) is the share of pair i's
    words whose need is above λ; a pair without words misses nothing.

    Args:
        needs: (G,) of every gold word.
        weights: (G,) one over the number of gold words in the word's pair.
        pairs: n, those without a gold word counted.
        alpha: expected share that is missed, at most; in (0, 1).

    Returns:
        the level; infinite when n is too small, (n + 1) alpha < 1.

    Raises:
        ValueError: alpha out of range, or not as many weights as needs.

    Source: Angelopoulos et al. 2022, conformal risk control, with B = 1.
    """
    check_alpha(alpha)
    if needs.shape != weights.shape:
        raise ValueError(
            f"weights must be as many as the {needs.size} needs, got {weights.size}: pass one each"
        )
    budget = (pairs + 1) * alpha - 1 + _ROUNDING
    if budget < 0:
        return math.inf
    hardest_first = np.argsort(-needs, kind="stable")
    missed = np.cumsum(weights[hardest_first])
    # of equal needs all are held or none, so words are missed only above the first one held
    held = int(np.searchsorted(missed, budget, side="right"))
    return -math.inf if held == len(needs) else float(needs[hardest_first[held]])


def coverage_law(pairs: int, alpha: float) -> tuple[float, float]:
    """Returns a and b of the Beta distribution of the coverage that n pairs give.

    The coverage of a set of calibration pairs is the probability that a new pair's words are held,
    given these pairs. It is Beta(n + 1 - l, l), l = floor((n + 1) alpha), when no two needs are
    equal; with equal needs it is at least that.

    Raises:
        ValueError: alpha out of range, or n too small for it: then everything is held.

    Source: Vovk 2012, conditional validity of inductive conformal predictors.
    """
    check_alpha(alpha)
    allowed = misses(pairs, alpha)
    if allowed == 0:
        raise ValueError(
            f"pairs must be at least {math.ceil(1 / alpha) - 1} for alpha={alpha:g}, got {pairs}"
        )
    return float(pairs + 1 - allowed), float(allowed)
