"""Measures against the metrics they resample and plain counts; intervals against theory."""

import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs2s.evaluation.bleu import bleu
from dvs2s.evaluation.diversity import distinct_per_token, generic_share, unique_replies
from dvs2s.evaluation.entropy import unigram_entropy
from dvs2s.evaluation.measures import CorpusBleu, Distinct, Generic, Ratio, Unique, mean_of
from dvs2s.evaluation.resampling import estimates

sentence = st.lists(st.sampled_from("abcde"), max_size=7)
pairs = st.lists(st.tuples(sentence, st.lists(sentence, min_size=1, max_size=3)), min_size=1)


@given(pairs)
def test_weights_of_one_are_the_metric_itself(drawn):
    replies, references = [list(column) for column in zip(*drawn, strict=True)]
    ones = np.ones((1, len(replies)))
    theirs = bleu(replies, references)
    for order, expected in enumerate([theirs.bleu1, theirs.bleu2, theirs.bleu3, theirs.bleu4], 1):
        measure = CorpusBleu(replies, references, order=order)
        assert measure.values(ones)[0] == pytest.approx(expected, abs=1e-9)
    for n in (1, 2, 3):
        expected = distinct_per_token(replies, n)
        assert Distinct(replies, n=n).values(ones)[0] == pytest.approx(expected, abs=1e-12)
    assert Unique(replies).values(ones)[0] == pytest.approx(unique_replies(replies))
    for most in (1, 3):
        expected = generic_share(replies, most_frequent=most)
        assert Generic(replies, most_frequent=most).values(ones)[0] == pytest.approx(expected)


@given(pairs, st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_whole_weights_are_repetitions(drawn, chance):
    replies, references = [list(column) for column in zip(*drawn, strict=True)]
    weights = np.array([[chance.randint(0, 3) for _ in replies] for _ in range(3)], dtype=float)
    for row in weights:
        places = [i for i, times in enumerate(row) for _ in range(int(times))]
        some = [replies[i] for i in places]
        theirs = bleu(some, [references[i] for i in places])
        here = row[None]
        assert CorpusBleu(replies, references, order=2).values(here)[0] == pytest.approx(
            theirs.bleu2, abs=1e-9
        )
        assert Distinct(replies, n=2).values(here)[0] == pytest.approx(distinct_per_token(some, 2))
        assert Unique(replies).values(here)[0] == pytest.approx(unique_replies(some))
        assert Generic(replies, most_frequent=2).values(here)[0] == pytest.approx(
            generic_share(some, most_frequent=2)
        )


def test_entropy_is_that_of_the_definition():
    counts = Counter({"a": 4, "b": 2, "c": 2, "never": 0})
    scores = unigram_entropy([["a", "b"], ["c", "zz", "never"], []], counts)
    assert scores.bits.tolist() == [1 + 2, 2, 0] and scores.words.tolist() == [2, 1, 0]
    assert Ratio(scores.bits, scores.words).values(np.ones((1, 3)))[0] == pytest.approx(5 / 3)
    for bad in ({}, {"a": 0}, {"a": -1, "b": 2}):
        with pytest.raises(ValueError, match="counts must be 0 or more and some above it"):
            unigram_entropy([], bad)


def test_means_leave_unscored_replies_out():
    measure = mean_of(np.array([1.0, math.nan, 4.0]))
    assert measure.values(np.array([[1, 1, 1], [0, 5, 0], [2, 1, 0]])).tolist() == [2.5, 0.0, 1.0]


def normal(n, seed, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1.0, n)


@pytest.mark.parametrize("is_count", [False, True])
def test_an_interval_of_a_mean_is_the_textbook_one(is_count):
    scores = normal(400, 0)
    measure = Ratio(scores, np.ones(400), is_count=is_count)  # both ways of drawing
    found = estimates({"a": [measure]}, 400, num_resamples=4000)["a"]
    expected = 1.96 * scores.std(ddof=1) / math.sqrt(400)
    assert found.value == pytest.approx(scores.mean())
    assert found.high - found.value == pytest.approx(expected, rel=0.08)
    assert found.value - found.low == pytest.approx(expected, rel=0.08)


def test_pairing_finds_what_separate_intervals_hide():
    common = normal(300, 1) * 5
    systems = {
        "base": [mean_of(common)],
        "same": [mean_of(common + normal(300, 2) * 0.3)],
        "better": [mean_of(common + 0.2 + normal(300, 3) * 0.3)],
    }
    found = estimates(systems, 300, baseline="base")
    assert found["base"].difference is None and found["base"].p_value is None
    assert found["better"].low < found["base"].high  # they overlap by far
    assert found["better"].p_value < 0.01 < 0.05 < found["same"].p_value
    assert found["better"].difference == pytest.approx(found["better"].value - found["base"].value)


def test_seeds_that_differ_widen_the_interval():
    scores = normal(2000, 4) * 0.1
    alike = [mean_of(scores)] * 3
    shifted = [mean_of(scores + shift) for shift in (-1.0, 0.0, 1.0)]
    found = estimates({"alike": alike, "shifted": shifted}, 2000, num_resamples=4000)
    assert found["alike"].high - found["alike"].low < 0.02
    # the mean of three seeds with a standard deviation of 1 has one of 1 / √3
    deviation = (found["shifted"].high - found["shifted"].low) / (2 * 1.96)
    assert deviation == pytest.approx(1 / math.sqrt(3), rel=0.1)
    assert found["shifted"].by_seed == pytest.approx([scores.mean() + s for s in (-1, 0, 1)])


def test_systems_made_of_the_same_trainings_are_compared_within_each():
    noise = normal(500, 5) * 0.1
    base = [mean_of(noise + shift) for shift in (-1.0, 0.0, 1.0)]
    more = [mean_of(noise + shift + 0.1) for shift in (-1.0, 0.0, 1.0)]
    found = estimates({"base": base, "more": more}, 500, baseline="base")["more"]
    assert found.difference == pytest.approx(0.1) and found.p_value < 0.01


def test_counts_keep_their_value_in_the_interval():
    chance = random.Random(0)
    replies = [[chance.choice("abcdefgh") for _ in range(3)] for _ in range(300)]
    found = estimates({"a": [Distinct(replies, n=2)]}, 300)["a"]
    assert found.low < found.value < found.high
    # what the halves are for: repetitions would find a third fewer different ones
    weights = np.random.default_rng(0).multinomial(300, np.full(300, 1 / 300), 50).astype(float)
    assert Unique(replies).values(weights).max() < unique_replies(replies)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({}, 5), "systems must have a measure a seed"),
        (({"a": []}, 5), "systems must have a measure a seed, got none for .'a'."),
        (({"a": [mean_of(np.ones(5))]}, 1), "at least 2, got 1 and 1000"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        estimates(*arguments)
    with pytest.raises(ValueError, match="baseline must be one of a, got 'b'"):
        estimates({"a": [mean_of(np.ones(5))]}, 5, baseline="b")
    with pytest.raises(ValueError, match="order must be 1 to 4, got 5"):
        CorpusBleu([], [], order=5)


def test_intervals_end_where_the_metric_ends():
    # two seeds far apart: mean and deviations together reach beyond 0 and 1
    seeds = [mean_of(np.array([0.0] * 19 + [1.0])), mean_of(np.ones(20))]
    free = estimates({"a": seeds}, 20, num_resamples=200)["a"]
    assert free.high > 1
    held = estimates({"a": seeds}, 20, num_resamples=200, bounds=(0.0, 1.0))["a"]
    assert (held.low, held.high, held.value) == (max(free.low, 0.0), 1.0, free.value)
