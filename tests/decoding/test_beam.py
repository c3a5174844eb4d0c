"""Beam search against a plain twin and against enumeration of everything."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_twin import hypothesis_of, may_follow, single

from dvs2s.decoding.search import Hypothesis, SearchOptions, search
from dvs2s.decoding.table import TableModel, random_table


def plain_beam(model: TableModel, options: SearchOptions, number: int) -> list[Hypothesis]:
    """Beam search of one input with lists, without stopping early, keeping all that finishes."""
    width, alpha = options.beam, options.length_penalty
    live, finished = [((), ())], []  # words, their log-probabilities
    for _ in range(options.max_length):
        candidates = []
        for parent, (words, values) in enumerate(live):
            row = model.row(number, words)
            for slot in range(model.num_slots):
                value = single(row[slot])
                if value > -math.inf and may_follow(model, number, words, slot, options):
                    total = sum(values, 0.0)
                    rough = single(single(total) + value)
                    candidates.append((-rough, -(total + value), parent, slot, words, values))
        candidates.sort(key=lambda c: (c[0], c[2], c[3]))
        candidates = sorted(candidates[: 2 * width], key=lambda c: c[1:4])
        following = []
        for rank, (_, _, _, slot, words, values) in enumerate(candidates):
            value = single(model.row(number, words)[slot])
            if slot != model.eos_slot:
                following.append(((*words, slot), (*values, value)))
            elif rank < width:
                finished.append(hypothesis_of(words, (*values, value), True, alpha))
        if not following:
            break
        live = following[:width]
    finished.sort(key=lambda reply: -reply.score)
    unfinished = [hypothesis_of(words, values, False, alpha) for words, values in live]
    return (finished or unfinished)[: options.num_best]


@st.composite
def beam_options(draw) -> SearchOptions:
    beam = draw(st.integers(1, 6))
    max_length = draw(st.integers(1, 7))
    return SearchOptions(
        kind="beam",
        beam=beam,
        num_best=draw(st.integers(1, beam)),
        length_penalty=draw(st.sampled_from([0.0, 0.6, 1.0, 2.0])),
        min_length=draw(st.integers(0, max_length)),
        max_length=max_length,
        block_ngram=draw(st.integers(0, 3)),
    )


@settings(max_examples=250, deadline=None)
@given(
    beam_options(),
    st.integers(0, 10**6),
    st.integers(1, 7),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([0.0, 0.2, 0.6]),
)
def test_equals_plain_beam(options, seed, num_slots, grid, dead):
    model = random_table(3, num_slots, seed=seed, grid=grid, dead=dead)
    chance = np.random.default_rng(seed)
    model.allowed = torch.from_numpy(chance.random((3, num_slots)) < 0.8)
    expected = [plain_beam(model, options, number) for number in range(3)]
    assert search(model, options) == expected


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("block_ngram", [0, 1, 2])
def test_wide_beam_finds_the_best_of_all(alpha, block_ngram):
    num_slots, max_length = 4, 4
    model = random_table(2, num_slots, seed=5)
    options = SearchOptions(
        beam=num_slots**max_length,
        num_best=10,
        max_length=max_length,
        length_penalty=alpha,
        block_ngram=block_ngram,
    )
    for number, actual in enumerate(search(model, options)):
        everything = []
        for length in range(options.min_length, max_length):
            for words in itertools.product(range(1, num_slots), repeat=length):
                reply, values = (*words, 0), []
                for place, slot in enumerate(reply):
                    if not may_follow(model, number, reply[:place], slot, options):
                        break
                    values.append(single(model.row(number, reply[:place])[slot]))
                else:
                    everything.append(hypothesis_of(words, tuple(values), True, alpha))
        everything.sort(key=lambda reply: -reply.score)
        assert actual == everything[:10]


def test_equal_candidates_come_in_order():
    model = TableModel(lambda number, words: [-9.0] + [-1.0] * 5, torch.ones(1, 6).bool())
    options = SearchOptions(beam=4, num_best=4, max_length=2)
    actual = [reply.slots for reply in search(model, options)[0]]
    # Nothing ends among the first four candidates: of 16 equal ones the first hypothesis' come
    # first, and its lower slots before its higher ones.
    assert actual == [(1, 1), (1, 2), (1, 3), (1, 4)]


def test_earlier_of_equal_replies_comes_first():
    rows = {(): [-9.0, -1.0, -2.0], (1,): [-2.0, -9.0, -9.0], (2,): [-1.0, -9.0, -9.0]}
    model = TableModel(lambda number, words: rows.get(words, [-9.0] * 3), torch.ones(1, 3).bool())
    replies = search(model, SearchOptions(beam=3, num_best=2, max_length=3))[0]
    assert [(reply.slots, reply.score) for reply in replies] == [((1,), -3.0), ((2,), -3.0)]


class CountingModel(TableModel):
    num_steps = 0

    def step(self, slots, state):
        self.num_steps += 1
        return super().step(slots, state)


@pytest.mark.parametrize(("alpha", "num_steps"), [(0.0, 7), (1.0, 19)])
def test_stops_as_soon_as_nothing_better_can_come(alpha, num_steps):
    # Ending costs 1 at any time and a word 1/8: after eight words no reply can beat the empty one,
    # unless a length penalty of up to 25/6 may still come.
    model = CountingModel(lambda number, words: [-1.0, -0.125, -9.0], torch.ones(1, 3).bool())
    options = SearchOptions(beam=2, min_length=0, max_length=20, length_penalty=alpha)
    replies = search(model, options)[0]
    assert model.num_steps == num_steps
    assert len(replies[0].slots) == (19 if alpha else 0)


def test_a_length_penalty_makes_replies_longer():
    model = random_table(30, 6, seed=3)
    lengths = [
        sum(
            len(replies[0].slots)
            for replies in search(model, SearchOptions(beam=8, max_length=12, length_penalty=alpha))
        )
        for alpha in (0.0, 1.0, 3.0)
    ]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3), st.sampled_from([0.0, 0.5]), st.floats(0, 2))
def test_beam_of_one_is_greedy(seed, block_ngram, grid, alpha):
    model = random_table(4, 5, seed=seed, grid=grid)
    shared = {"max_length": 8, "block_ngram": block_ngram}
    greedy = search(model, SearchOptions(kind="greedy", **shared))
    assert search(model, SearchOptions(beam=1, **shared)) == greedy
    # With a length penalty the beam looks on beyond the end of sentence, and can only gain.
    shared["length_penalty"] = alpha
    greedy = search(model, SearchOptions(kind="greedy", **shared))
    beam = search(model, SearchOptions(beam=1, **shared))
    for ours, theirs in zip(beam, greedy, strict=True):
        assert ours[0].score >= theirs[0].score or not theirs[0].finished


def test_a_reply_that_can_not_end_is_cut_and_flagged():
    model = random_table(2, 5, seed=1)
    model.allowed[0, 0] = False  # end of sentence forbidden for the first input
    replies = search(model, SearchOptions(beam=4, num_best=3, max_length=6))
    assert [len(reply.slots) for reply in replies[0]] == [6, 6, 6]
    assert not any(reply.finished for reply in replies[0])
    assert all(reply.finished for reply in replies[1])


@pytest.mark.parametrize("kind", ["greedy", "beam", "sampling"])
def test_without_any_word_the_reply_is_empty(kind):
    model = random_table(3, 4, seed=1)
    model.allowed[1] = False
    replies = search(model, SearchOptions(kind=kind, beam=3, max_length=5))
    assert replies[1] == [Hypothesis((), 0.0, 0.0, (), False)]
    assert all(len(group) == 1 and group[0].slots for group in (replies[0], replies[2]))


def test_a_dead_end_gives_back_the_words_before_it():
    rows = {(): [-2.0, -1.0, -math.inf], (1,): [-0.5, -math.inf, -math.inf]}
    dead = [-math.inf] * 3
    for kind in ("greedy", "beam", "sampling"):
        model = CountingModel(
            lambda number, words: rows.get(words, dead), torch.ones(1, 3).bool(), eos_slot=2
        )
        options = SearchOptions(kind=kind, beam=2, max_length=9, top_k=1)
        (reply,) = search(model, options)[0]
        assert (reply.slots, reply.log_prob, reply.finished) == ((1, 0), -1.5, False)
        assert model.num_steps == 2
