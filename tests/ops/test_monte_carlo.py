"""The shared-exponentials form against one plain softmax a vocabulary."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dvs2s.ops import monte_carlo_cross_entropy
from dvs2s.ops.reference import masked_cross_entropy


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
    chunk=st.sampled_from([0, 1, 4, 33]),
    seed=st.integers(0, 10**6),
)
def test_values_and_gradients_equal_the_reference(
    batch: int,
    rows: int,
    width: int,
    words: int,
    samples: int,
    scale: float,
    chunk: int,
    seed: int,
) -> None:
    hidden, weight, bias, membership, targets = case(
        batch, rows, width, words, samples, scale=scale, seed=seed
    )
    leaves = [hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    actual = monte_carlo_cross_entropy(*leaves, membership, targets, chunk=chunk)
    expected = masked_cross_entropy(*leaves, membership, targets)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    upstream = torch.randn(expected.shape, dtype=torch.float64)
    for got, want in zip(
        torch.autograd.grad(actual, leaves, upstream),
        torch.autograd.grad(expected, leaves, upstream),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("chunk", [0, 1, 3])
def test_float32_survives_a_vocabulary_far_below_the_peak(chunk: int) -> None:
    """The row's largest logit is outside of T and 500 above it: exp underflows to 0 in T."""
    weight, bias = torch.zeros(4, 2), torch.tensor([500.0, 0.0, -1.0, 1.0])
    hidden = torch.ones(1, 1, 2, requires_grad=True)
    bias.requires_grad_()
    membership = torch.tensor([[[False, True, True, True], [True, True, True, True]]])
    targets = torch.tensor([[1]])
    losses = monte_carlo_cross_entropy(hidden, weight, bias, membership, targets, chunk=chunk)
    expected = -torch.tensor([0.0, -1.0, 1.0]).log_softmax(0)[0]
    torch.testing.assert_close(losses[0, 0, 0], expected)
    torch.testing.assert_close(losses[0, 1, 0], torch.tensor(500.0))
    (grad,) = torch.autograd.grad(losses[0, 0, 0], bias)
    share = torch.tensor([0.0, -1.0, 1.0]).softmax(0)
    torch.testing.assert_close(grad, torch.cat([torch.zeros(1), share]) - torch.eye(4)[1])


@pytest.mark.parametrize("chunk", [0, 4])
def test_gradcheck_one_input_at_a_time(chunk: int) -> None:
    tensors = case(2, 3, 4, 9, 3, scale=1.0, seed=3)
    for place in range(3):
        inputs = [t.clone() for t in tensors]
        inputs[place].requires_grad_()
        assert torch.autograd.gradcheck(
            lambda *args: monte_carlo_cross_entropy(*args, chunk=chunk), inputs
        )


def test_registration_is_complete() -> None:
    tensors = [
        t.float() if t.is_floating_point() else t for t in case(2, 3, 4, 9, 5, scale=1, seed=3)
    ]  # no two sizes are equal: a fake kernel that mixes two up shows
    leaves = [t.requires_grad_() for t in tensors[:3]]
    torch.library.opcheck(torch.ops.dvs2s.monte_carlo.default, (*leaves, *tensors[3:]))
    torch.library.opcheck(torch.ops.dvs2s.monte_carlo_chunked.default, (*leaves, *tensors[3:], 4))


@pytest.mark.parametrize("chunk", [0, 4])
def test_compiles_without_a_graph_break(chunk: int) -> None:
    hidden, weight, bias, membership, targets = case(2, 3, 4, 9, 5, scale=1.0, seed=3)
    leaves = [t.requires_grad_() for t in (hidden, weight, bias)]

    def loss(*args: Tensor) -> Tensor:
        return monte_carlo_cross_entropy(*args, membership, targets, chunk=chunk).sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    actual, expected = compiled(*leaves), loss(*leaves)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(
        torch.autograd.grad(actual, leaves), torch.autograd.grad(expected, leaves)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_no_further_from_the_truth_than_the_plain_form(dtype: torch.dtype) -> None:
    hidden, weight, bias, membership, targets = case(3, 5, 64, 200, 4, scale=1.0, seed=5)
    low = [t.to(dtype) for t in (hidden, weight / 8, bias)]
    truth = masked_cross_entropy(*(t.double() for t in low), membership, targets)
    plain = masked_cross_entropy(*low, membership, targets).double()
    for chunk in (0, 64):
        actual = monte_carlo_cross_entropy(*low, membership, targets, chunk=chunk)
        assert actual.dtype == torch.float32
        assert (actual - truth).abs().max() <= (plain - truth).abs().max() + 1e-5


def test_arguments_that_do_not_fit_are_named() -> None:
    hidden, weight, bias, membership, targets = case(2, 3, 4, 9, 3, scale=1.0, seed=3)
    with pytest.raises(ValueError, match="membership must be"):
        monte_carlo_cross_entropy(hidden, weight, bias, membership[:, :, :5], targets)
    with pytest.raises(ValueError, match="targets must be"):
        monte_carlo_cross_entropy(hidden, weight, bias, membership, targets[:, :2])
    with pytest.raises(ValueError, match="one type"):
        monte_carlo_cross_entropy(hidden.float(), weight, bias, membership, targets)
    with pytest.raises(ValueError, match="chunk must be at least 0"):
        monte_carlo_cross_entropy(hidden, weight, bias, membership, targets, chunk=-1)


@pytest.mark.parametrize("chunk", [0, 1, 3])  # with 1 the broken row is the whole first chunk
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_row_that_no_vocabulary_holds_does_not_leak(chunk: int, broken: float) -> None:
    hidden, weight, bias, membership, targets = case(3, 2, 4, 9, 2, scale=1.0, seed=1)
    word = 0
    assert not (targets == word).any()
    membership[:, :, word] = False
    spoilt = weight.clone()
    spoilt[word, 1] = broken
    results = []
    for rows in (weight, spoilt):
        leaves = [t.clone().requires_grad_() for t in (hidden, rows, bias)]
        losses = monte_carlo_cross_entropy(*leaves, membership, targets, chunk=chunk)
        results.append([losses, *torch.autograd.grad(losses.sum(), leaves)])
    for clean, got in zip(*results, strict=True):
        torch.testing.assert_close(got, clean, rtol=1e-12, atol=1e-12)
    membership[0, 1, word] = True
    assert monte_carlo_cross_entropy(hidden, spoilt, bias, membership, targets).isnan().any()
