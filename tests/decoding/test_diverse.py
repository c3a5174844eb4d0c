"""Diverse beam search against a twin with lists, and what its two settings do."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_twin import hypothesis_of, may_follow, single

from dvs2s.decoding.search import Hypothesis, SearchOptions, search
from dvs2s.decoding.table import TableModel, random_table


def plain_diverse(model: TableModel, options: SearchOptions, number: int) -> list[Hypothesis]:
    """One input with lists, run to the end, keeping all that finishes."""
    width, alpha = options.beam // options.groups, options.length_penalty
    # words, their log-probabilities, and the rank: the sum of penalised ones
    lives = [[((), (), 0.0)] for _ in range(options.groups)]
    finished: list[list[Hypothesis]] = [[] for _ in range(options.groups)]
    before = lives
    for _ in range(options.max_length):
        taken: dict[int, int] = {}
        following = []
        for group, live in enumerate(lives):
            found = []
            for parent, (words, values, rank) in enumerate(live):
                row = model.row(number, words)
                for slot in range(model.num_slots):
                    value = single(row[slot])
                    if value == -math.inf or not may_follow(model, number, words, slot, options):
                        continue
                    penalty = 0.0
                    if slot != model.eos_slot:
                        penalty = single(options.diversity * taken.get(slot, 0))
                    cut = single(value - penalty)
                    rough = single(single(rank) + cut)
                    found.append((-rough, -(rank + cut), parent, slot, words, (*values, value)))
            found.sort(key=lambda c: (c[0], c[2], c[3]))
            found = sorted(found[: 2 * width], key=lambda c: c[1:4])
            new = []
            for place, (_, rank, _, slot, words, values) in enumerate(found):
                if slot != model.eos_slot:
                    new.append(((*words, slot), values, -rank))
                elif place < width:
                    finished[group].append(hypothesis_of(words, values, True, alpha))
            new = new[:width]
            for words, _, _ in new:
                taken[words[-1]] = taken.get(words[-1], 0) + 1
            following.append(new)
        before, lives = lives, following
        if not any(lives):
            break
    for replies in finished:
        replies.sort(key=lambda reply: -reply.score)
    keep = min(options.num_best, width)
    lists = [replies[:keep] for replies in finished]
    for last in (lives, before):
        if not any(lists):
            lists = [
                [hypothesis_of(words, values, False, alpha) for words, values, _ in live][:keep]
                for live in last
            ]
    chosen: list[Hypothesis] = []
    for rank in range(keep):
        level = [replies[rank] for replies in lists if rank < len(replies)]
        for reply in sorted(level, key=lambda one: -one.score):
            if len(chosen) < options.num_best and reply.slots not in [c.slots for c in chosen]:
                chosen.append(reply)
    return sorted(chosen, key=lambda one: -one.score)


@st.composite
def diverse_options(draw) -> SearchOptions:
    groups, width = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    max_length = draw(st.integers(1, 6))
    return SearchOptions(
        kind="diverse_beam",
        beam=groups * width,
        groups=groups,
        diversity=draw(st.sampled_from([0.0, 0.25, 1.0, 4.0])),
        num_best=draw(st.integers(1, groups * width)),
        length_penalty=draw(st.sampled_from([0.0, 1.0])),
        min_length=draw(st.integers(0, max_length)),
        max_length=max_length,
        block_ngram=draw(st.integers(0, 2)),
    )


@settings(max_examples=150, deadline=None)
@given(diverse_options(), st.integers(0, 10**6), st.sampled_from([0.0, 0.25]), st.integers(1, 6))
def test_it_equals_the_twin(options, seed, grid, num_slots) -> None:
    model = random_table(3, num_slots, seed=seed, grid=grid, dead=0.1)
    if num_slots > 2:
        model.allowed[1, 2:] = False
    found = search(model, options)
    for number, replies in enumerate(found):
        expected = plain_diverse(model, options, number)
        assert [r.slots for r in replies] == [r.slots for r in expected]
        assert [r.score for r in replies] == pytest.approx([r.score for r in expected], abs=1e-9)
        assert [r.finished for r in replies] == [r.finished for r in expected]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_without_groups_or_strength_it_is_the_beam(seed: int, width: int) -> None:
    model = random_table(3, 6, seed=seed)
    plain = search(model, SearchOptions(beam=width, num_best=width, max_length=5))
    for groups, diversity in ((1, 3.0), (3, 0.0)):
        options = SearchOptions(
            kind="diverse_beam",
            beam=groups * width,
            groups=groups,
            diversity=diversity,
            num_best=width,
            max_length=5,
        )
        assert search(model, options) == plain


def test_strength_makes_first_words_differ() -> None:
    model = random_table(20, 12, seed=5)

    def first_words(diversity: float) -> float:
        options = SearchOptions(
            kind="diverse_beam",
            beam=8,
            groups=4,
            diversity=diversity,
            num_best=4,
            max_length=6,
            min_length=1,
        )
        found = search(model, options)
        return sum(len({reply.slots[0] for reply in replies}) for replies in found) / len(found)

    assert first_words(0.0) < first_words(1.0) < first_words(20.0)
