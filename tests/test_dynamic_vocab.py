"""DynamicVocab and the choice of T against plain sets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs2s.dynamic_vocab import DynamicVocab, select_words

rows = st.lists(st.sets(st.integers(0, 29), min_size=1), min_size=1, max_size=5)


def membership(sets: list[set[int]], words: int = 30) -> torch.Tensor:
    table = torch.zeros(len(sets), words, dtype=torch.bool)
    for row, members in enumerate(sets):
        table[row, list(members)] = True
    return table


@settings(max_examples=80, deadline=None)
@given(rows)
def test_rows_are_the_sets_ascending_and_slots_invert_words(sets: list[set[int]]) -> None:
    vocab = DynamicVocab.from_membership(membership(sets))
    assert [vocab.row(i) for i in range(len(sets))] == [sorted(s) for s in sets]
    assert torch.equal(vocab.membership(), membership(sets))
    everything = torch.arange(30).expand(len(sets), -1)
    slots = vocab.slots(everything)
    for row, members in enumerate(sets):
        place = {word: slot for slot, word in enumerate(sorted(members))}
        assert slots[row].tolist() == [place.get(word, -1) for word in range(30)]
    inside = slots.clamp_min(0)
    assert torch.equal(vocab.words(inside)[slots >= 0], everything[slots >= 0])


def test_full_is_every_word() -> None:
    vocab = DynamicVocab.full(2, 7, torch.device("cpu"))
    assert vocab.row(1) == list(range(7))
    assert vocab.membership().all()


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(4, 40),
    mentioned=st.sets(st.integers(0, 23)),
    exponent=st.sampled_from([0.0, 0.5, 2.0]),
)
def test_selection_by_size_is_the_plain_ranking(
    seed: int, size: int, mentioned: set[int], exponent: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    log_odds = torch.randn(1, 20, generator=generator)
    penalty = exponent * torch.randn(20, generator=generator)
    vocab = select_words(
        log_odds,
        num_fixed=4,
        size=size,
        penalty=penalty if exponent else None,
        include=membership([mentioned], 24),
    )
    rank = torch.nn.functional.logsigmoid(log_odds[0]) - penalty
    first = sorted(word - 4 for word in mentioned if word >= 4)
    others = [i for i in (-rank).argsort().tolist() if i not in first]
    chosen = (first + others)[: max(size - 4, len(first))]
    assert vocab.row(0) == [0, 1, 2, 3] + sorted(i + 4 for i in chosen)


def test_selection_by_threshold() -> None:
    log_odds = torch.tensor([[-3.0, 0.1, 2.0], [-1.0, -1.0, -1.0]])
    vocab = select_words(log_odds, num_fixed=2, threshold=0.5)
    assert [vocab.row(0), vocab.row(1)] == [[0, 1, 3, 4], [0, 1]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"size": 1}, "size must be at least the 2 special and function words"),
        ({"threshold": 1.5}, "threshold must be between 0 and 1, got 1.5"),
        ({}, "exactly one of size and threshold"),
        ({"size": 3, "threshold": 0.5}, "exactly one of size and threshold"),
    ],
)
def test_bad_choices_are_named(arguments: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        select_words(torch.zeros(1, 3), num_fixed=2, **arguments)
    with pytest.raises(ValueError, match="without a word"):
        DynamicVocab.from_membership(torch.zeros(1, 3, dtype=torch.bool))
