"""Reranking formulas by hand."""

import pytest

from dvs2s.decoding.mmi import Candidate, Weights, ranking

GENERIC = Candidate(log_prob=-2.0, partner=-9.0, length=3)
SPECIFIC = Candidate(log_prob=-4.0, partner=-3.0, length=5)


def test_bidirectional_adds_what_the_reply_says_of_the_message():
    weights = Weights("bidirectional", partner=0.5, length=0.1)
    assert weights.score(GENERIC) == pytest.approx(-2.0 - 4.5 + 0.3)
    assert weights.score(SPECIFIC) == pytest.approx(-4.0 - 1.5 + 0.5)
    assert ranking([GENERIC, SPECIFIC], weights) == [1, 0]
    assert ranking([GENERIC, SPECIFIC], Weights("bidirectional", 0.0, 0.0)) == [0, 1]


def test_anti_lm_charges_what_is_likely_anyway():
    likely, rare = Candidate(-2.0, -1.0, 3), Candidate(-3.0, -9.0, 3)
    weights = Weights("anti_lm", partner=0.5, length=0.0)
    assert weights.score(likely) == pytest.approx(-1.5)
    assert weights.score(rare) == pytest.approx(1.5)
    assert ranking([likely, rare, rare], weights) == [1, 2, 0]


def test_bad_weights_are_refused():
    with pytest.raises(ValueError, match="kind must be anti_lm or bidirectional, got 'lm'"):
        Weights("lm", 1.0, 0.0)
    with pytest.raises(ValueError, match="partner must be at least 0, got -1"):
        Weights("anti_lm", -1.0, 0.0)
