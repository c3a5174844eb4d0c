"""Samples follow the distribution that was asked for, and nothing else moves them."""

import math
from collections import Counter

import pytest
import torch

from dvs2s.decoding.sampling import _invert
from dvs2s.decoding.search import SearchOptions, search
from dvs2s.decoding.table import TableModel, random_table

PROBS = [0.05, 0.4, 0.1, 0.15, 0.25, 0.05]
NUM_SAMPLES = 4000


def first_words(**cut) -> Counter:
    """How often each slot comes first among independent samples of one input."""
    values = [math.log(prob) for prob in PROBS]
    model = TableModel(lambda number, words: values, torch.ones(1, len(PROBS)).bool())
    options = SearchOptions(
        kind="sampling", num_best=NUM_SAMPLES, min_length=0, max_length=1, seed=7, **cut
    )
    replies = search(model, options)[0]
    return Counter(reply.slots[0] if reply.slots else 0 for reply in replies)


def softened(temperature: float) -> list[float]:
    return [prob ** (1 / temperature) for prob in PROBS]


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ({}, PROBS),
        ({"temperature": 0.5}, softened(0.5)),
        ({"temperature": 2.0}, softened(2.0)),
        ({"top_k": 3}, [0, 0.4, 0, 0.15, 0.25, 0]),
        ({"top_k": 5}, [0.05, 0.4, 0.1, 0.15, 0.25, 0]),  # of two equal ones the lower slot stays
        ({"top_k": 99}, PROBS),
        ({"top_p": 0.3}, [0, 1, 0, 0, 0, 0]),
        ({"top_p": 0.66}, [0, 0.4, 0, 0.15, 0.25, 0]),
        ({"top_p": 0.6, "top_k": 3}, [0, 0.4, 0, 0, 0.25, 0]),  # 0.6 of the 0.8 that top_k leaves
        ({"top_p": 0.6, "temperature": 2.0}, [0, *softened(2.0)[1:2], 0, *softened(2.0)[3:5], 0]),
    ],
)
def test_frequencies_match_the_distribution(cut, expected):
    counts = first_words(**cut)
    total = sum(expected)
    assert set(counts) == {slot for slot, weight in enumerate(expected) if weight}
    chi_square = sum(
        (counts[slot] - NUM_SAMPLES * weight / total) ** 2 / (NUM_SAMPLES * weight / total)
        for slot, weight in enumerate(expected)
        if weight
    )
    assert chi_square < 25  # at most 5 degrees of freedom: exceeded once in 7,000 seeds


def test_scores_are_the_models_own_whatever_the_temperature():
    counts = {}
    values = [math.log(prob) for prob in PROBS]
    model = TableModel(lambda number, words: values, torch.ones(1, len(PROBS)).bool())
    options = SearchOptions(
        kind="sampling", num_best=20, temperature=3.0, top_k=4, max_length=5, length_penalty=1.0
    )
    for reply in search(model, options)[0]:
        slots = (*reply.slots, 0) if reply.finished else reply.slots
        expected = math.fsum(values[slot] for slot in slots)
        assert reply.log_prob == pytest.approx(expected, abs=1e-5)
        assert reply.score == pytest.approx(expected / ((5 + len(slots)) / 6), abs=1e-5)
        counts[slots] = True
    assert len(counts) > 10


@pytest.mark.parametrize("cut", [{"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-9}])
@pytest.mark.parametrize("block_ngram", [0, 2])
def test_without_choice_sampling_is_greedy(cut, block_ngram):
    model = random_table(20, 7, seed=4)
    shared = {"max_length": 10, "block_ngram": block_ngram}
    greedy = search(model, SearchOptions(kind="greedy", **shared))
    assert search(model, SearchOptions(kind="sampling", **shared, **cut)) == greedy


def test_the_seeds_fix_the_samples():
    model = random_table(3, 9, seed=4)

    def sample(num_best=1, seed=0, input_seeds=None):
        options = SearchOptions(kind="sampling", num_best=num_best, seed=seed, max_length=12)
        return search(model, options, input_seeds=input_seeds)

    assert sample() == sample()
    assert sample() == sample(input_seeds=[0, 1, 2])
    assert sample() != sample(seed=1)
    assert sample() != sample(input_seeds=[5, 6, 7])
    # The first sample is there however many are drawn, and samples differ from one another.
    for few, many in zip(sample(num_best=1), sample(num_best=6), strict=True):
        assert few[0] in many
        assert len(set(many)) > 2


def test_equal_messages_with_different_seeds_differ():
    row = random_table(1, 9, seed=4).row
    model = TableModel(lambda number, words: row(0, words), torch.ones(6, 9).bool())
    replies = search(model, SearchOptions(kind="sampling", max_length=12))
    assert len({group[0] for group in replies}) > 3


def test_words_without_weight_are_never_drawn():
    probs = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]], dtype=torch.float64).expand(4, -1)
    almost_one = 1 - 2**-53
    uniforms = torch.tensor([0.0, 0.5, almost_one, 0.25], dtype=torch.float64)
    for whole in (1.0, 1.1, 1.5, 1.999, 3.7):
        assert _invert(probs * whole, uniforms).tolist() == [1, 3, 3, 1]
