"""``dvs2s.ops.gpu``: the operators' names over the kernels, against the reference."""

import pytest
import torch
from kernel_builds import Kernels
from kernel_reference import Layer, random_layer
from torch import Tensor

from dvs2s.ops import gpu, library, monte_carlo, reference


@pytest.fixture
def served(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> Kernels:
    """The Python side on these kernels."""
    monkeypatch.setattr(gpu, "kernels", lambda: kernels.ops)
    return kernels


def layer_on(kernels: Kernels, dtype: torch.dtype = torch.float32) -> Layer:
    layer = random_layer(3, 9, 40, 90, 80, seed=1, dtype=dtype)
    return Layer(
        layer.hidden, layer.weight.nan_to_num(), layer.bias.nan_to_num(), layer.ids, layer.lengths
    ).to(kernels.device)


def close(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4, check_dtype=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_and_best(served: Kernels, dtype: torch.dtype) -> None:
    operands = layer_on(served, dtype).operands()
    close(gpu.sparse_logits(*operands, None, 0), reference.sparse_logits(*operands))
    for k in (5, 65):  # within the kernel's reach and beyond
        actual = gpu.sparse_topk(*operands, None, k, 0)
        close(actual, reference.sparse_topk(*operands, k=k))


@pytest.mark.parametrize("of_lse", [False, True])
def test_cross_entropy(served: Kernels, of_lse: bool) -> None:
    operands = layer_on(served).operands()
    rows = operands[0].shape[:2]
    targets = torch.zeros(rows, dtype=torch.int64, device=served.device)
    targets[0, 0] = -1
    forward = gpu.sparse_cross_entropy(*operands, targets, 0)
    close(forward, library.sparse_cross_entropy(*operands, targets, 0))
    generator = torch.Generator().manual_seed(0)
    grads = torch.randn(2, *rows, generator=generator).to(served.device)
    arguments = (grads[0], grads[1] if of_lse else None, *operands, targets, forward[1], 0)
    close(
        gpu.sparse_cross_entropy_backward(*arguments),
        library.sparse_cross_entropy_backward(*arguments),
    )


def test_monte_carlo(served: Kernels) -> None:
    hidden, weight, bias, _, _ = layer_on(served).operands()
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, len(weight), hidden.shape[:2], generator=generator)
    membership = torch.rand(hidden.shape[0], 3, len(weight), generator=generator) < 0.4
    chosen = torch.zeros(hidden.shape[0], len(weight), dtype=torch.bool).scatter_(1, targets, True)
    membership = (membership | chosen[:, None]).to(served.device)
    arguments = (hidden, weight, bias, membership, targets.to(served.device))
    losses, peak, sums, lse = gpu.monte_carlo_forward(*arguments, 32)
    wanted = monte_carlo.forward_chunked(*arguments, 32)
    close((losses, lse), (wanted[0], wanted[3]))
    grad = torch.randn(losses.shape, generator=generator).to(served.device)
    close(
        gpu.monte_carlo_backward(grad, *arguments, peak, sums, lse, 32),
        monte_carlo.backward_chunked(grad, *arguments, *wanted[1:], 32),
    )


def test_select(served: Kernels) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 80, generator=generator).round(decimals=1)
    include = torch.rand(3, 90, generator=generator) < 0.1
    arguments = (scores.to(served.device), include.to(served.device), 10, 30)
    for actual, expected in zip(gpu.select(*arguments), reference.select(*arguments), strict=True):
        assert torch.equal(actual, expected)


def test_bits_are_packed_lowest_word_first() -> None:
    membership = torch.zeros(1, 1, 70, dtype=torch.bool)
    membership[0, 0, [0, 31, 33, 69]] = True
    packed = gpu.pack(membership)[0, 0].tolist()
    assert [bits & 0xFFFFFFFF for bits in packed] == [1 | 1 << 31, 2, 1 << 5]
