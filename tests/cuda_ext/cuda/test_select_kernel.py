"""Selection against a sort."""

import math

import kernel_reference as reference
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_builds import Kernels
from torch import Tensor

pytestmark = pytest.mark.usefixtures("unwritten_is_nan")


def run(
    kernels: Kernels, scores: Tensor, num_fixed: int, size: int, always: Tensor | None
) -> tuple[Tensor, Tensor]:
    forced = None if always is None else always.to(kernels.device)
    ids, lengths = kernels.ops.select_topm(scores.to(kernels.device), num_fixed, size, forced)
    return ids.cpu(), lengths.cpu()


def check(
    kernels: Kernels, scores: Tensor, num_fixed: int, size: int, always: Tensor | None
) -> None:
    ids, lengths = run(kernels, scores, num_fixed, size, always)
    total = num_fixed + scores.shape[1]
    assert ids.shape[1] == (min(size, total) if always is None else total)
    expected = reference.selected(scores, num_fixed, size, always)
    for line, length, words in zip(ids.tolist(), lengths.tolist(), expected, strict=True):
        assert line[:length] == words
        assert line[length:] == [0] * (len(line) - length)


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 2),
    content=st.sampled_from([1, 31, 32, 33, 500, 1025, 2100]),
    num_fixed=st.sampled_from([0, 1, 40]),
    more=st.integers(0, 600),
    levels=st.sampled_from([1, 3, 40, 10**6]),
    has_always=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_selection(
    kernels: Kernels,
    batch: int,
    content: int,
    num_fixed: int,
    more: int,
    levels: int,
    has_always: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randint(-levels, levels, (batch, content), generator=generator)
    scores = steps.float() * 0.37  # few levels: many ties
    always = None
    if has_always:
        always = torch.rand(batch, num_fixed + content, generator=generator) < 0.1
    check(kernels, scores, num_fixed, num_fixed + more, always)


def test_infinities_zeros_and_nan(kernels: Kernels) -> None:
    scores = torch.tensor([[0.0, -0.0, math.inf, -math.inf, -1e30, 1e-40, -math.inf, 0.0]])
    for size in range(9):
        check(kernels, scores, 0, size, None)
    scores[0, 4] = math.nan
    assert run(kernels, scores, 0, 1, None)[0].tolist() == [[4]]  # as torch.topk ranks it


def test_more_forced_words_than_places_widen_the_vocabulary(kernels: Kernels) -> None:
    scores = torch.arange(10.0)[None]
    always = torch.zeros(1, 12, dtype=torch.bool)
    always[0, [0, 3, 4, 5, 6]] = True
    ids, lengths = run(kernels, scores, 2, 4, always)
    assert lengths.tolist() == [6] and ids[0, :6].tolist() == [0, 1, 3, 4, 5, 6]


def test_wrong_arguments_are_named(kernels: Kernels) -> None:
    scores = torch.zeros(1, 5)
    with pytest.raises(RuntimeError, match="size must be at least the 4 fixed words .* got 3"):
        run(kernels, scores, 4, 3, None)
    with pytest.raises(RuntimeError, match="always must be"):
        run(kernels, scores, 4, 5, torch.zeros(1, 5, dtype=torch.bool))
    with pytest.raises(RuntimeError, match="scores must be float32"):
        run(kernels, scores.double(), 4, 5, None)
