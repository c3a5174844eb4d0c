"""What workers draw for their rows is what one draws for the batch; the rest is refused."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dvs2s.parallel.draws import GroupDraws


def drawn(batch: torch.Tensor) -> list[torch.Tensor]:
    """One of each kind of draw for the rows of a batch."""
    rows = len(batch)
    rates = torch.tensor([0.1, 0.2, 0.3, 0.4])
    return [
        torch.rand(rows, 2, 3),
        torch.randn((rows, 3)),
        torch.rand_like(batch),
        torch.randn_like(batch),
        nn.Dropout(0.4)(batch),
        F.dropout(batch[:, :1], 0.7, True),
        torch.empty(rows, 5).exponential_(2.0),
        torch.empty(rows).bernoulli_(0.3),
        torch.multinomial(rates.expand(rows, -1), 6, replacement=True),
    ]


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 3))
@settings(deadline=None, max_examples=25)
def test_rows_are_cut_out_of_the_batch(rows: int, size: int, seed: int) -> None:
    batch = torch.arange(rows * 4.0).view(rows, 4)
    torch.manual_seed(seed)
    whole = drawn(batch)
    for rank in range(min(size, rows)):
        mine = slice(rank, None, size)
        torch.manual_seed(seed)
        with GroupDraws(mine, rows):
            own = drawn(batch[mine])
        for kind, (expected, found) in enumerate(zip(whole, own, strict=True)):
            assert torch.equal(expected[mine], found), kind


def test_outside_of_training_nothing_is_dropped() -> None:
    batch = torch.ones(3, 2)
    with GroupDraws(slice(0, 3), 6):
        assert nn.Dropout(0.5).eval()(batch) is batch


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.rand(7, 3),
        lambda: torch.rand(()),
        lambda: F.dropout(torch.ones(2, 3), 0.5, True),
        lambda: torch.randperm(3),
        lambda: torch.bernoulli(torch.ones(3)),
        lambda: torch.multinomial(torch.eye(3), 1),
    ],
)
def test_draws_that_cannot_be_shared_are_refused(draw) -> None:  # type: ignore[no-untyped-def]
    with GroupDraws(slice(0, 3), 6), pytest.raises(ValueError, match="draws"):
        draw()
