"""The weighted normaliser against a plain logsumexp, and against vocabularies of weight 0 and 1."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dvs2s.ops import monte_carlo_cross_entropy, weighted_cross_entropy


def case(words: int, samples: int, *, scale: float, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    log_weights = -random(2, samples, words).abs() * 5
    targets = torch.randint(0, words, (2, 3), generator=generator)
    log_weights.scatter_(2, targets[:, None].expand(-1, samples, -1), 0.0)
    return [random(2, 3, 4), random(words, 4), random(words) * scale, log_weights, targets]


def plain(hidden: Tensor, weight: Tensor, bias: Tensor, log_weights: Tensor, targets: Tensor):
    logits = hidden @ weight.T + bias  # (B, R, V)
    normaliser = (logits[:, None] + log_weights[:, :, None]).logsumexp(-1)
    return normaliser - logits.gather(-1, targets[..., None])[..., 0][:, None]


@settings(max_examples=60, deadline=None)
@given(
    words=st.integers(1, 33),
    samples=st.integers(1, 4),
    scale=st.sampled_from([0.0, 1.0, 30.0, 300.0, 1e4]),
    chunk=st.sampled_from([0, 1, 4, 33]),
    seed=st.integers(0, 10**6),
)
def test_values_and_gradients_equal_the_plain_form(
    words: int, samples: int, scale: float, chunk: int, seed: int
) -> None:
    *leaves, targets = case(words, samples, scale=scale, seed=seed)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    actual = weighted_cross_entropy(*leaves, targets, chunk=chunk)
    expected = plain(*leaves, targets)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    upstream = torch.randn(expected.shape, dtype=torch.float64)
    for got, want in zip(
        torch.autograd.grad(actual, leaves, upstream),
        torch.autograd.grad(expected, leaves, upstream),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("chunk", [0, 4])
def test_weights_of_zero_and_one_are_a_vocabulary(chunk: int) -> None:
    hidden, weight, bias, log_weights, targets = case(9, 3, scale=1.0, seed=1)
    membership = log_weights > -3
    inside = torch.zeros_like(log_weights).masked_fill(~membership, -torch.inf)
    actual = weighted_cross_entropy(hidden, weight, bias, inside, targets, chunk=chunk)
    expected = monte_carlo_cross_entropy(hidden, weight, bias, membership, targets, chunk=chunk)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("chunk", [0, 2])
def test_float32_survives_words_far_above_those_of_weight(chunk: int) -> None:
    """A word that hardly weighs is 500 above the rest: its gradient is its share, not an inf."""
    bias = torch.tensor([500.0, 0.0, -1.0, 1.0], requires_grad=True)
    log_weights = torch.tensor([[[-499.0, 0.0, 0.0, 0.0]]], requires_grad=True)
    losses = weighted_cross_entropy(
        torch.ones(1, 1, 2), torch.zeros(4, 2), bias, log_weights, torch.tensor([[1]]), chunk=chunk
    )
    scores = torch.tensor([1.0, 0.0, -1.0, 1.0])
    torch.testing.assert_close(losses[0, 0, 0], scores.logsumexp(0))
    of_bias, of_weights = torch.autograd.grad(losses.sum(), [bias, log_weights])
    torch.testing.assert_close(of_weights[0, 0], scores.softmax(0))
    torch.testing.assert_close(of_bias, scores.softmax(0) - torch.eye(4)[1])


def test_registration_is_complete() -> None:
    for chunk in (0, 4):
        *leaves, targets = case(9, 5, scale=1.0, seed=3)
        leaves = [leaf.float().requires_grad_() for leaf in leaves]
        torch.library.opcheck(torch.ops.dvs2s.weighted.default, (*leaves, targets, chunk))


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (3, torch.zeros(2, 9), r"log_weights must be \(B, M, V\) = \(2, M, 9\), got \(2, 9\)"),
        (3, torch.ones(2, 1, 9, dtype=torch.bool), "log_weights must be float, got torch.bool"),
        (4, torch.zeros(2, dtype=torch.int64), r"targets must be \(B, R\) = \(2, 3\), got \(2,\)"),
        (1, torch.zeros(9, 4), "hidden, weight and bias must have one type"),
    ],
)
def test_bad_arguments_are_named(place: int, value: Tensor, sentence: str) -> None:
    arguments = case(9, 1, scale=1.0, seed=3)
    arguments[place] = value
    with pytest.raises(ValueError, match=sentence):
        weighted_cross_entropy(*arguments)
    with pytest.raises(ValueError, match="chunk must be at least 0, got -1"):
        weighted_cross_entropy(*case(9, 1, scale=1.0, seed=3), chunk=-1)
