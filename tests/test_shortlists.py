"""The controls against counting by hand, and through the commands."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs2s.data.corpus import PairCorpus
from dvs2s.shortlists import FrequencyShortlist, LexicalShortlist

FIXED, CONTENT = 6, 7
ids = st.lists(st.integers(1, FIXED + CONTENT - 1), min_size=1, max_size=6)


def corpus_of(pairs):
    sides = [side for pair in pairs for side in pair]
    offsets = np.cumsum([0, *map(len, sides)]).astype(np.int64)
    return PairCorpus(np.array([i for side in sides for i in side], dtype=np.int32), offsets)


@given(st.lists(st.tuples(ids, ids), min_size=1, max_size=12), st.lists(ids, min_size=1))
@settings(max_examples=60)
def test_lexical_shares_are_those_counted_by_hand(pairs, messages):
    shares = torch.linspace(0.1, 0.6, CONTENT)
    shortlist = LexicalShortlist(corpus_of(pairs), shares, num_fixed=FIXED, smoothing=2.0)
    width = max(map(len, messages))
    actual = shortlist(torch.tensor([m + [0] * (width - len(m)) for m in messages])).sigmoid()
    for row, message in enumerate(messages):
        for t in range(CONTENT):
            mean = 0.0
            for s in set(message):
                holding = [set(response) for said, response in pairs if s in said]
                both = sum(FIXED + t in response for response in holding)
                mean += (both + 2.0 * float(shares[t])) / (len(holding) + 2.0) / len(set(message))
            assert float(actual[row, t]) == pytest.approx(mean, abs=1e-5)


def test_counting_in_chunks_changes_nothing(monkeypatch):
    chance = np.random.default_rng(0)
    pairs = [(chance.integers(1, 13, 4).tolist(), chance.integers(1, 13, 4).tolist())
             for _ in range(20)]  # fmt: skip
    shares, message = torch.full((CONTENT,), 0.2), torch.tensor([[1, 7, 8]])
    whole = LexicalShortlist(corpus_of(pairs), shares, num_fixed=FIXED)(message)
    monkeypatch.setattr("dvs2s.shortlists._CHUNK", 3)
    parts = LexicalShortlist(corpus_of(pairs), shares, num_fixed=FIXED)(message)
    assert torch.allclose(whole, parts)
    with pytest.raises(ValueError, match="smoothing must be above 0, got 0"):
        LexicalShortlist(corpus_of(pairs), shares, num_fixed=FIXED, smoothing=0)


def test_frequency_is_the_same_for_everybody():
    found = FrequencyShortlist(torch.tensor([0.5, 0.2]))(torch.ones(3, 4, dtype=torch.int64))
    assert found.shape == (3, 2) and found[2].tolist() == pytest.approx([0.0, math.log(0.25)])
