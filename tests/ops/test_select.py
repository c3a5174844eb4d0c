"""Selection and the listing of membership, against sorted Python lists."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs2s import ops
from dvs2s.ops import reference


def rank(score: float) -> tuple[bool, float]:
    return (False, 0.0) if math.isnan(score) else (True, -score)


@settings(max_examples=80, deadline=None)
@given(
    batch=st.integers(1, 4),
    fixed=st.integers(0, 6),
    content=st.integers(1, 70),
    extra=st.integers(0, 80),
    ties=st.booleans(),
    odd=st.sampled_from([0.0, 0.3]),
    included=st.sampled_from([0.0, 0.1, 0.9]),
    seed=st.integers(0, 10**6),
)
def test_select_is_what_a_sorted_list_gives(
    batch: int,
    fixed: int,
    content: int,
    extra: int,
    ties: bool,
    odd: float,
    included: float,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, content, generator=generator)
    if ties:
        scores = scores.round()
    for value in (torch.inf, -torch.inf, torch.nan):
        scores[torch.rand(batch, content, generator=generator) < odd] = value
    include = torch.rand(batch, fixed + content, generator=generator) < included
    size = fixed + extra
    expected = []
    for row, inside in zip(scores.tolist(), include.tolist(), strict=True):
        words = {w for w, flag in enumerate(inside) if flag} | set(range(fixed))
        # NaN on top, as torch ranks it; sorted() keeps the order of equals
        ranked = sorted(range(fixed, fixed + content), key=lambda w: rank(row[w - fixed]))
        for word in ranked:
            if len(words) >= size:
                break
            words.add(word)
        expected.append(sorted(words))
    for ids, lengths in (  # the kernel that serves this device, and what it is defined by
        ops.select(scores, num_fixed=fixed, size=size, include=include),
        reference.select(scores, include, fixed, size),
    ):
        assert lengths.tolist() == [len(words) for words in expected]
        assert ids.shape == (batch, max(len(words) for words in expected))
        for row_ids, words in zip(ids.tolist(), expected, strict=True):
            assert row_ids == words + [0] * (ids.shape[1] - len(words))


@settings(max_examples=40, deadline=None)
@given(batch=st.integers(1, 4), words=st.integers(1, 80), seed=st.integers(0, 10**6))
def test_compact_lists_what_is_true(batch: int, words: int, seed: int) -> None:
    membership = torch.rand(batch, words, generator=torch.Generator().manual_seed(seed)) < 0.4
    wanted = [[word for word, flag in enumerate(row) if flag] for row in membership.tolist()]
    longest = max(len(row) for row in wanted)
    for ids, lengths in (ops.compact(membership), reference.compact(membership)):
        assert lengths.tolist() == [len(row) for row in wanted]
        assert ids.tolist() == [row + [0] * (longest - len(row)) for row in wanted]


def test_registration_is_complete() -> None:
    scores, include = torch.randn(2, 6), torch.rand(2, 9) < 0.3
    torch.library.opcheck(torch.ops.dvs2s.select.default, (scores, include, 3, 5))
    torch.library.opcheck(torch.ops.dvs2s.compact.default, (include,))


def test_bad_arguments_are_named() -> None:
    scores = torch.randn(2, 6)
    with pytest.raises(ValueError, match="size must be at least the 3 words"):
        ops.select(scores, num_fixed=3, size=2)
    with pytest.raises(ValueError, match="include must be"):
        ops.select(scores, num_fixed=3, size=4, include=torch.zeros(2, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="scores must be"):
        ops.select(scores[0], num_fixed=3, size=4)
    with pytest.raises(ValueError, match="membership must be"):
        ops.compact(scores)
