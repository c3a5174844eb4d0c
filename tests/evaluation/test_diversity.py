"""Diversity by hand, and against a slower way to count."""

import random

import pytest

from dvs2s.evaluation.diversity import (
    distinct_per_ngram,
    distinct_per_token,
    diversity,
    generic_share,
    unique_replies,
)

REPLIES = [["i", "do", "not", "know"], ["i", "do"], ["yes"], [], ["i", "do"]]


def test_hand_computed():
    actual = diversity(REPLIES)
    # 9 tokens: i do not know yes; 5 pairs: i-do do-not not-know; 2 triples, both different.
    assert actual.distinct_per_token == pytest.approx((5 / 9, 3 / 9, 2 / 9))
    assert actual.distinct_per_ngram == pytest.approx((5 / 9, 3 / 5, 2 / 2))
    assert actual.unique_replies == 4 / 5
    assert actual.generic_share == 1.0  # no more than 20 different replies
    assert actual.mean_length == 9 / 5


def test_generic_share_counts_the_most_frequent():
    replies = [["a"]] * 5 + [["b"]] * 3 + [["c"]] + [["d"]]
    assert generic_share(replies, most_frequent=1) == 0.5
    assert generic_share(replies, most_frequent=2) == 0.8
    assert generic_share(replies, most_frequent=3) == 0.9
    assert generic_share([[str(number)] for number in range(100)]) == 0.2


def test_equals_a_slower_count():
    chance = random.Random(3)
    replies = [[chance.choice("abcde") for _ in range(chance.randint(0, 6))] for _ in range(200)]
    tokens = sum(len(reply) for reply in replies)
    for n in (1, 2, 3, 4):
        ngrams = []
        for reply in replies:
            for start in range(len(reply)):
                if start + n <= len(reply):
                    ngrams.append(" ".join(reply[start : start + n]))
        assert distinct_per_token(replies, n) == len(set(ngrams)) / tokens
        assert distinct_per_ngram(replies, n) == len(set(ngrams)) / len(ngrams)
    different = []
    for reply in replies:
        if reply not in different:
            different.append(reply)
    assert unique_replies(replies) == len(different) / 200


@pytest.mark.parametrize("replies", [[], [[]], [[], []]])
def test_nothing_is_defined(replies):
    actual = diversity(replies)
    assert actual.distinct_per_token == actual.distinct_per_ngram == (0.0, 0.0, 0.0)
    assert actual.mean_length == 0.0
    assert actual.unique_replies == (1 / len(replies) if replies else 0.0)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        distinct_per_token(REPLIES, 0)
    with pytest.raises(ValueError, match="most_frequent must be at least 1, got 0"):
        generic_share(REPLIES, most_frequent=0)
    with pytest.raises(ValueError, match="must be lists of tokens, got the string 'i do'"):
        distinct_per_ngram(["i do"], 1)
