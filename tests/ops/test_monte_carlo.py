"""The shared-exponentials form against one plain softmax a vocabulary."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dvs2s.ops.monte_carlo import monte_carlo_cross_entropy
from dvs2s.ops.reference import masked_cross_entropy, sparse_log_softmax


def case(
    batch: int, rows: int, width: int, words: int, samples: int, *, scale: float, seed: int
) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    hidden, weight, bias = random(batch, rows, width), random(words, width), random(words) * scale
    targets = torch.randint(0, words, (batch, rows), generator=generator)
    share = torch.rand(batch, samples, 1, generator=generator)
    membership = torch.rand(batch, samples, words, generator=generator) < share
    for example in range(batch):
        membership[example][:, targets[example]] = True
    return hidden, weight, bias, membership, targets


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 4),
    rows=st.integers(1, 5),
    width=st.integers(1, 7),
    words=st.integers(1, 33),
    samples=st.integers(1, 6),
    scale=st.sampled_from([0.0, 1.0, 30.0, 300.0, 1e4]),
    seed=st.integers(0, 10**6),
)
def test_values_and_gradients_equal_the_reference(
    batch: int, rows: int, width: int, words: int, samples: int, scale: float, seed: int
) -> None:
    hidden, weight, bias, membership, targets = case(
        batch, rows, width, words, samples, scale=scale, seed=seed
    )
    leaves = [hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    actual = monte_carlo_cross_entropy(*leaves, membership, targets)
    expected = masked_cross_entropy(*leaves, membership, targets)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    upstream = torch.randn(expected.shape, dtype=torch.float64)
    for got, want in zip(
        torch.autograd.grad(actual, leaves, upstream),
        torch.autograd.grad(expected, leaves, upstream),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


def test_float32_survives_a_vocabulary_far_below_the_peak() -> None:
    """The row's largest logit is outside of T and 500 above it: exp underflows to 0 in T."""
    weight, bias = torch.zeros(4, 2), torch.tensor([500.0, 0.0, -1.0, 1.0])
    hidden = torch.ones(1, 1, 2, requires_grad=True)
    bias.requires_grad_()
    membership = torch.tensor([[[False, True, True, True], [True, True, True, True]]])
    losses = monte_carlo_cross_entropy(hidden, weight, bias, membership, torch.tensor([[1]]))
    expected = -torch.tensor([0.0, -1.0, 1.0]).log_softmax(0)[0]
    torch.testing.assert_close(losses[0, 0, 0], expected)
    torch.testing.assert_close(losses[0, 1, 0], torch.tensor(500.0))
    (grad,) = torch.autograd.grad(losses[0, 0, 0], bias)
    share = torch.tensor([0.0, -1.0, 1.0]).softmax(0)
    torch.testing.assert_close(grad, torch.cat([torch.zeros(1), share]) - torch.eye(4)[1])


def test_gradcheck_one_input_at_a_time() -> None:
    tensors = case(2, 3, 4, 9, 3, scale=1.0, seed=3)
    for place in range(3):
        inputs = [t.clone() for t in tensors]
        inputs[place].requires_grad_()
        assert torch.autograd.gradcheck(monte_carlo_cross_entropy, inputs)


def test_shapes_that_do_not_fit_are_named() -> None:
    hidden, weight, bias, membership, targets = case(2, 3, 4, 9, 3, scale=1.0, seed=3)
    with pytest.raises(ValueError, match="membership must be"):
        monte_carlo_cross_entropy(hidden, weight, bias, membership[:, :, :5], targets)
    with pytest.raises(ValueError, match="targets must be"):
        monte_carlo_cross_entropy(hidden, weight, bias, membership, targets[:, :2])
    with pytest.raises(ValueError, match="one width"):
        sparse_log_softmax(hidden, weight[:, :2], bias, torch.zeros(2, 1).long(), torch.ones(2))


def test_sparse_log_softmax_normalises_each_input_over_its_own_words() -> None:
    hidden, weight, bias, membership, _ = case(3, 2, 4, 9, 1, scale=1.0, seed=4)
    ids = torch.tensor([[0, 3, 8], [2, 0, 0], [1, 7, 0]])
    lengths = torch.tensor([3, 1, 2])
    actual = sparse_log_softmax(hidden, weight, bias, ids, lengths)
    for row in range(3):
        words = ids[row, : lengths[row]]
        expected = (hidden[row] @ weight[words].T + bias[words]).log_softmax(-1)
        torch.testing.assert_close(actual[row, :, : lengths[row]], expected.float())
        assert (actual[row, :, lengths[row] :] == -torch.inf).all()
