"""M partition sums a row and their gradient against one float64 softmax a vocabulary."""

import math

import kernel_reference as reference
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_builds import Kernels
from torch import Tensor

pytestmark = pytest.mark.usefixtures("unwritten_is_nan")
Case = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def random_case(
    batch: int,
    rows: int,
    width: int,
    words: int,
    samples: int,
    *,
    seed: int,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Case:
    """Returns hidden, weight, bias, membership (B, M, V) with the targets in, and targets."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    hidden, bias = normal(batch, rows, width).to(dtype), normal(words) * scale
    weight = (normal(words, width) / math.sqrt(width)).to(dtype)
    targets = torch.randint(0, words, (batch, rows), generator=generator)
    share = torch.rand(batch, samples, 1, generator=generator)
    members = torch.rand(batch, samples, words, generator=generator) < share
    for b in range(batch):
        members[b][:, targets[b]] = True
    return hidden, weight, bias, members, targets


def run_lse(kernels: Kernels, case: Case) -> Tensor:
    hidden, weight, bias, members, _ = case
    operands = (hidden, weight, bias, reference.pack_bits(members))
    on_device = [x.to(kernels.device) for x in operands]
    lse: Tensor = kernels.ops.monte_carlo_lse(*on_device, members.shape[1])
    return lse.cpu()


def run_backward(kernels: Kernels, case: Case, grad: Tensor, lse: Tensor) -> tuple[Tensor, ...]:
    hidden, weight, bias, members, targets = case
    operands = (grad, hidden, weight, bias, reference.pack_bits(members), lse, targets)
    on_device = [x.to(kernels.device) for x in operands]
    results = kernels.ops.monte_carlo_backward(*on_device, members.shape[1])
    return tuple(x.cpu() for x in results)


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 3),
    rows=st.sampled_from([1, 3, 21, 40]),
    width=st.sampled_from([1, 7, 33, 64]),
    words=st.sampled_from([1, 31, 128, 129, 300]),
    samples=st.integers(1, 6),
    scale=st.sampled_from([1.0, 30.0, 300.0, 1e4]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 10**6),
)
def test_values_and_gradients(
    kernels: Kernels,
    batch: int,
    rows: int,
    width: int,
    words: int,
    samples: int,
    scale: float,
    dtype: torch.dtype,
    seed: int,
) -> None:
    case = random_case(batch, rows, width, words, samples, seed=seed, scale=scale, dtype=dtype)
    hidden, weight, bias, members, targets = case
    targets[0, 0] = -1
    leaves = [x.double().requires_grad_() for x in (hidden, weight, bias)]
    logits, expected = reference.monte_carlo_lse(tuple(leaves), members)
    lse = run_lse(kernels, case)
    torch.testing.assert_close(lse.double(), expected.detach(), rtol=2e-6, atol=3e-5)
    generator = torch.Generator().manual_seed(seed)
    grad = torch.rand(batch, rows, samples, generator=generator) / samples
    gold = logits.gather(-1, targets.clamp(min=0)[..., None])  # (B, R, 1)
    loss = expected - gold.masked_fill((targets < 0)[..., None], 0)
    want = torch.autograd.grad(loss, leaves, grad.double())
    unit = 1e-6 if dtype == torch.float32 else torch.finfo(dtype).eps / 2
    # float32 logits of size `scale` are off by that much of their last bit
    unit += 1e-7 * scale
    for got, right in zip(run_backward(kernels, case, grad, lse), want, strict=True):
        torch.testing.assert_close(got.double(), right, rtol=8 * unit, atol=64 * unit)


def test_a_vocabulary_far_below_the_largest_logit(kernels: Kernels) -> None:
    """500 below the tile's largest logit, exp is 0 in float32: the sum is taken again."""
    hidden, weight, bias, members, targets = random_case(1, 2, 4, 200, 3, seed=1)
    members[:] = False
    members[0, 0, :8] = True
    members[0, 1, 100] = True
    members[0, 2, 130:] = True
    bias[60] = 500.0
    case = (hidden, weight, bias, members, targets)
    expected = reference.monte_carlo_lse((hidden, weight, bias), members)[1]
    torch.testing.assert_close(run_lse(kernels, case).double(), expected, rtol=1e-6, atol=1e-5)


def test_what_is_in_no_vocabulary_does_not_leak(kernels: Kernels) -> None:
    hidden, weight, bias, members, targets = random_case(2, 3, 8, 300, 2, seed=2)
    members[:, :, [5, 150, 290]] = False
    targets[:] = members[:, 0].int().argmax(-1)[:, None]
    members[:, 1] |= members[:, 0]
    clean = (hidden, weight.clone(), bias.clone(), members, targets)
    bias[5], bias[290], weight[150] = math.inf, math.nan, math.nan
    spoilt = (hidden, weight, bias, members, targets)
    lse = run_lse(kernels, spoilt)  # relative to another largest logit: the last bits differ
    torch.testing.assert_close(lse, run_lse(kernels, clean), rtol=1e-6, atol=1e-6)
    grad = torch.ones(2, 3, 2)
    for got, want in zip(
        run_backward(kernels, spoilt, grad, lse),
        run_backward(kernels, clean, grad, lse),
        strict=True,
    ):
        assert torch.equal(got, want)


def test_an_empty_vocabulary_and_no_rows(kernels: Kernels) -> None:
    hidden, weight, bias, members, targets = random_case(1, 2, 4, 40, 2, seed=3)
    members[0, 1] = False
    assert run_lse(kernels, (hidden, weight, bias, members, targets))[..., 1].tolist() == [
        [-math.inf, -math.inf]
    ]
    none = (hidden[:, :0], weight, bias, members, targets[:, :0])
    lse = run_lse(kernels, none)
    assert lse.shape == (1, 0, 2)
    for got in run_backward(kernels, none, torch.zeros(1, 0, 2), lse):
        assert (got == 0).all()


def test_a_vocabulary_of_many_chunks(kernels: Kernels) -> None:
    """More words than the backward pass takes at once, more tiles than splits: one for the last."""
    case = random_case(1, 3, 4, 34 * 128 + 5, 2, seed=4)
    expected = reference.monte_carlo_lse(case[:3], case[3])[1]
    torch.testing.assert_close(run_lse(kernels, case).double(), expected, rtol=1e-6, atol=1e-5)


def test_wrong_operands_are_named(kernels: Kernels) -> None:
    hidden, weight, bias, members, _ = random_case(1, 2, 4, 40, 2, seed=5)
    bits = reference.pack_bits(members)
    on_device = [x.to(kernels.device) for x in (hidden, weight, bias, bits)]
    with pytest.raises(RuntimeError, match=r"membership_bits must be .* = \(1, 3, 2\)"):
        kernels.ops.monte_carlo_lse(*on_device, 3)
    with pytest.raises(RuntimeError, match=r"num_samples must be in 1\.\.64, got 65"):
        kernels.ops.monte_carlo_lse(*on_device, 65)
