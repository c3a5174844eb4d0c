"""Gradients of the sparse loss against autograd in float64."""

import math

import kernel_reference as reference
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_builds import Kernels
from kernel_reference import Layer, random_layer
from torch import Tensor

pytestmark = pytest.mark.usefixtures("unwritten_is_nan")


def targets_of(layer: Layer, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    batch, rows = layer.hidden.shape[:2]
    targets = (torch.rand(batch, rows, generator=generator) * layer.lengths[:, None]).long()
    targets[torch.rand(batch, rows, generator=generator) < 0.2] = -1
    return targets


def run_backward(
    kernels: Kernels, layer: Layer, targets: Tensor, grad: Tensor, *, deterministic: bool
) -> tuple[Tensor, ...]:
    there, there_targets = layer.to(kernels.device), targets.to(kernels.device)
    _, lse = kernels.ops.sparse_cross_entropy_forward(*there.operands(), there_targets)
    results = kernels.ops.sparse_cross_entropy_backward(
        grad.to(kernels.device), *there.operands(), there_targets, lse, deterministic
    )
    return tuple(x.cpu() for x in results)


def expected_gradients(layer: Layer, targets: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    leaves = [x.double().nan_to_num().requires_grad_() for x in layer.operands()[:3]]
    loss = reference.losses(layer, targets, tuple(leaves))
    return torch.autograd.grad(loss, leaves, grad.double())


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    rows=st.sampled_from([1, 3, 7, 8, 21, 40, 70]),
    width=st.sampled_from([1, 5, 24, 64, 70, 130]),
    slots=st.integers(1, 150),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    deterministic=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_gradients(
    kernels: Kernels,
    batch: int,
    rows: int,
    width: int,
    slots: int,
    dtype: torch.dtype,
    deterministic: bool,
    seed: int,
) -> None:
    layer = random_layer(batch, rows, width, slots + 20, slots, seed=seed, dtype=dtype)
    targets = targets_of(layer, seed)
    grad = torch.rand(batch, rows, generator=torch.Generator().manual_seed(seed)) + 0.1
    actual = run_backward(kernels, layer, targets, grad, deterministic=deterministic)
    expected = expected_gradients(layer, targets, grad)
    # the gradient of a logit, at most 1.1, is rounded to hidden's type before the products: its
    # error times the largest factor, added up over the rows or slots of a sum
    unit = 1e-6 if dtype == torch.float32 else torch.finfo(dtype).eps / 2
    for got, want in zip(actual, expected, strict=True):
        assert got.dtype == torch.float32 and got.shape == want.shape
        torch.testing.assert_close(got.double(), want, rtol=8 * unit, atol=32 * unit)


def test_an_ignored_row_and_an_unused_word_leave_zeros(kernels: Kernels) -> None:
    layer = random_layer(2, 9, 12, 90, 60, seed=1)
    layer.hidden[0, 4] = math.inf
    targets = targets_of(layer, 1)
    targets[0, 4] = -1
    used = torch.cat([layer.words(0), layer.words(1)]).unique()
    for deterministic in (False, True):
        d_hidden, d_weight, d_bias = run_backward(
            kernels, layer, targets, torch.ones(2, 9), deterministic=deterministic
        )
        assert d_hidden.isfinite().all() and (d_hidden[0, 4] == 0).all()
        assert d_bias.isfinite().all()
        unused = torch.ones(90, dtype=torch.bool)
        unused[used] = False
        assert (d_weight[unused] == 0).all() and (d_bias[unused] == 0).all()


@pytest.mark.parametrize("rows", [3, 9])
def test_words_of_minus_infinity_weigh_nothing(kernels: Kernels, rows: int) -> None:
    layer = random_layer(1, rows, 12, 90, 60, seed=4)
    layer.bias[layer.words(0)] = -math.inf
    targets, grad = torch.zeros(1, rows, dtype=torch.int64), torch.ones(1, rows)
    expected = torch.zeros(90)
    expected[layer.words(0)[0]] = -rows
    for deterministic in (False, True):
        _, _, d_bias = run_backward(kernels, layer, targets, grad, deterministic=deterministic)
        assert torch.equal(d_bias, expected)


def test_the_ordered_route_has_the_same_bits_every_time(kernels: Kernels) -> None:
    """And the rows of an example have the same bits whoever its neighbours are."""
    layer = random_layer(6, 10, 40, 70, 60, seed=2, dtype=torch.bfloat16)
    targets, grad = targets_of(layer, 2), torch.ones(6, 10)
    first = run_backward(kernels, layer, targets, grad, deterministic=True)
    for _ in range(3):
        again = run_backward(kernels, layer, targets, grad, deterministic=True)
        for one, other in zip(first, again, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(("batch", "rows"), [(0, 3), (2, 0)])
def test_nothing_has_zero_gradients(kernels: Kernels, batch: int, rows: int) -> None:
    layer = random_layer(2, 3, 8, 20, 10, seed=3)
    layer = Layer(
        layer.hidden[:batch, :rows],
        layer.weight,
        layer.bias,
        layer.ids[:batch],
        layer.lengths[:batch],
    )
    nothing = torch.zeros(batch, rows)
    for deterministic in (False, True):
        d_hidden, d_weight, d_bias = run_backward(
            kernels, layer, nothing.long(), nothing, deterministic=deterministic
        )
        assert d_hidden.shape == (batch, rows, 8)
        assert (d_weight == 0).all() and (d_bias == 0).all()
