"""The need of a word is where T begins to hold it: every threshold and size is tried."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs2s.coverage.levels import HIGHEST_THRESHOLD, as_size, as_threshold, find_levels
from dvs2s.coverage.needs import batch_needs, joined
from dvs2s.dynamic_vocab import select_words

FIXED, WORDS = 6, 15


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_needs_are_where_select_words_begins(seed: int, message_words: bool) -> None:
    torch.manual_seed(seed)
    log_odds = torch.randint(-4, 5, (3, WORDS - FIXED)).float() / 2  # many are equal
    messages, responses = torch.randint(0, WORDS, (3, 4)), torch.randint(0, WORDS, (3, 5))
    needs = batch_needs(log_odds, messages, responses, num_fixed=FIXED, message_words=message_words)
    include = torch.zeros(3, WORDS, dtype=torch.bool)
    if message_words:
        include.scatter_(1, messages, True)

    def holds(row: int, word: int, **rule: float) -> bool:
        options = {"num_fixed": FIXED, "include": include.clone(), **rule}
        return word in select_words(log_odds, **options).row(row)  # type: ignore[arg-type]

    gold = [sorted({w for w in row if w >= FIXED}) for row in responses.tolist()]
    assert needs.pairs == 3 and len(needs.pair) == sum(map(len, gold))
    flat = [(row, word) for row in range(3) for word in gold[row]]
    for place, (row, word) in enumerate(flat):
        assert needs.pair[place] == row
        assert needs.weights[place] == 1 / len(gold[row])
        if include[row, word]:
            assert needs.beta[place] == -math.inf and needs.size[place] == FIXED
            assert holds(row, word, size=FIXED) and holds(row, word, threshold=0.9999)
            continue
        beta = -needs.beta[place]
        assert holds(row, word, threshold=beta) and not holds(row, word, threshold=beta + 1e-6)
        size = int(needs.size[place])
        assert holds(row, word, size=size)
        value = log_odds[row, word - FIXED]
        equals = int((log_odds[row] == value).sum())  # of equal words the lower comes first
        assert not holds(row, word, size=max(size - equals, FIXED))
    hardest = needs.hardest("size")
    for row in range(3):
        own = needs.size[needs.pair == row]
        assert hardest[row] == (own.max() if len(own) else -math.inf)


def test_batches_are_joined_and_pairs_chosen() -> None:
    torch.manual_seed(3)
    log_odds = torch.randn(8, WORDS - FIXED)
    messages, responses = torch.randint(0, WORDS, (8, 4)), torch.randint(0, WORDS, (8, 5))

    def needs(rows: slice):  # type: ignore[no-untyped-def]
        return batch_needs(
            log_odds[rows], messages[rows], responses[rows], num_fixed=FIXED, message_words=True
        )

    whole, parts = needs(slice(8)), joined([needs(slice(0, 3)), needs(slice(3, 8))])
    for one, other in zip(vars(whole).values(), vars(parts).values(), strict=True):
        assert np.array_equal(one, other)
    chosen = whole.chosen(np.array([6, 1]))
    assert np.array_equal(chosen.hardest("threshold"), whole.hardest("threshold")[[6, 1]])


def test_levels_become_settings() -> None:
    assert as_threshold(math.inf) is None and as_threshold(0.0) is None
    assert as_threshold(-math.inf) == HIGHEST_THRESHOLD < 1
    assert as_threshold(-0.5) == pytest.approx(0.5, rel=1e-3)
    assert as_threshold(-0.5) < 0.5  # type: ignore[operator]  # rounding must not miss the pair
    assert (as_size(math.inf, 99), as_size(-math.inf, 99), as_size(40.0, 99)) == (99, 1, 40)


def test_more_coverage_never_asks_for_fewer_words() -> None:
    torch.manual_seed(4)
    log_odds = torch.randn(300, WORDS - FIXED)
    messages, responses = torch.randint(0, WORDS, (300, 2)), torch.randint(0, WORDS, (300, 5))
    needs = {
        own: batch_needs(log_odds, messages, responses, num_fixed=FIXED, message_words=own)
        for own in (True, False)
    }
    levels = find_levels(needs, [0.01, 0.1, 0.4], vocabulary_size=WORDS)
    assert len(levels) == 12
    for some in (levels[i : i + 3] for i in range(0, 12, 3)):
        sizes = [level.size for level in some]
        assert sizes == sorted(sizes, reverse=True)
        thresholds = [level.threshold or 0.0 for level in some]
        assert thresholds == sorted(thresholds)
    for whole, share in zip(levels[:3], levels[3:6], strict=True):
        assert share.size <= whole.size  # a share of the words is easier than all of them
