"""Levels: what they guarantee holds exactly, for any exchangeable pairs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs2s.coverage.conformal import coverage_law, level_for_all, level_for_share, misses

ALPHAS = st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.25, 0.5, 0.9])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=30), ALPHAS, st.booleans())
def test_each_of_exchangeable_pairs_is_held_as_often_as_promised(
    values: list[int], alpha: float, is_distinct: bool
) -> None:
    """Any of the n + 1 pairs may be the new one: the share held is the probability, exactly."""
    needs = np.array(values, dtype=np.float64)
    if is_distinct:
        needs = np.arange(len(values), dtype=np.float64)
    count = len(needs)
    held = [
        needs[i] <= level_for_all(np.delete(needs, i), alpha) for i in range(count)
    ]  # n = count - 1
    allowed = misses(count - 1, alpha)
    assert allowed == math.floor(count * alpha + 1e-9)
    assert sum(held) >= count - allowed >= count * (1 - alpha) - 1e-6
    if is_distinct:
        assert sum(held) == count - allowed


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.integers(-5, 5), max_size=4), min_size=2, max_size=15),
    ALPHAS,
)
def test_the_expected_share_of_exchangeable_pairs_is_as_promised(
    pairs: list[list[int]], alpha: float
) -> None:
    def flat(some: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        needs = np.array([w for pair in some for w in pair], dtype=np.float64)
        return needs, np.array([1 / len(pair) for pair in some for _ in pair])

    missed = 0.0
    for i, new in enumerate(pairs):
        rest = pairs[:i] + pairs[i + 1 :]
        level = level_for_share(*flat(rest), len(rest), alpha)
        assert level == by_trying(rest, alpha)
        missed += sum(need > level for need in new) / max(len(new), 1)
    assert missed / len(pairs) <= alpha + 1e-6


def by_trying(pairs: list[list[int]], alpha: float) -> float:
    """The definition: the lowest level whose risk is small enough."""
    levels = sorted({float(need) for pair in pairs for need in pair})
    for level in [-math.inf, *levels]:
        shares = [sum(n > level for n in pair) / len(pair) for pair in pairs if pair]
        if (sum(shares) + 1) / (len(pairs) + 1) <= alpha + 1e-9:
            return level
    return math.inf


@pytest.mark.parametrize(("pairs", "alpha"), [(99, 0.1), (50, 0.05), (400, 0.01)])
def test_coverage_has_its_beta_distribution(pairs: int, alpha: float) -> None:
    """For uniform needs the coverage of a calibration is its level: its law is known exactly."""
    rng = np.random.default_rng(7)
    draws = 4000
    levels = np.sort([level_for_all(rng.random(pairs), alpha) for _ in range(draws)])
    a, b = coverage_law(pairs, alpha)
    assert a + b == pairs + 1
    # Kolmogorov-Smirnov: P(Beta(k, n + 1 - k) <= x) = P(Binomial(n, x) >= k)
    exact = [
        math.fsum(
            math.comb(pairs, j) * x**j * (1 - x) ** (pairs - j) for j in range(int(a), pairs + 1)
        )
        for x in levels
    ]
    distance = np.max(np.abs(np.array(exact) - (np.arange(draws) + 0.5) / draws))
    assert distance < 1.95 / math.sqrt(draws)  # passes 999 times of 1,000; the seed is fixed
    # the sharper bound would not notice a quantile one place off: this does
    other = [
        math.fsum(
            math.comb(pairs, j) * x**j * (1 - x) ** (pairs - j)
            for j in range(int(a) + 1, pairs + 1)
        )
        for x in levels
    ]
    assert np.max(np.abs(np.array(other) - np.arange(draws) / draws)) > 1.95 / math.sqrt(draws)


def test_too_few_pairs_ask_for_everything() -> None:
    needs = np.arange(98, dtype=np.float64)
    assert level_for_all(needs, 0.01) == math.inf
    assert level_for_all(np.arange(99.0), 0.01) == 98
    assert level_for_share(needs, np.ones(98), 98, 0.01) == math.inf
    assert level_for_all(np.full(99, -math.inf), 0.01) == -math.inf
    with pytest.raises(ValueError, match="at least 99 for alpha=0.01, got 98"):
        coverage_law(98, 0.01)
    for alpha in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
            level_for_all(needs, alpha)
    with pytest.raises(ValueError, match="weights must be as many as the 98 needs, got 3"):
        level_for_share(needs, np.ones(3), 98, 0.1)
