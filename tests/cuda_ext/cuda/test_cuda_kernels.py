"""What only a GPU can show: real sizes, streams, graphs, the lack of synchronisation."""

from collections.abc import Iterator

import kernel_reference as reference
import pytest
import torch
from kernel_builds import Kernels
from kernel_reference import Layer, random_layer, with_int8_weight
from torch import Tensor

pytestmark = pytest.mark.cuda


@pytest.fixture
def no_synchronisation() -> Iterator[None]:
    """Makes waiting for the device an error."""
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def every_operator(kernels: Kernels, layer: Layer) -> list[Tensor]:
    """Calls each operator once on a layer on the device."""
    ops, operands = kernels.ops, layer.operands()
    hidden, weight, bias, ids, lengths = operands
    batch, rows, _ = hidden.shape
    targets = torch.zeros(batch, rows, dtype=torch.int64, device=hidden.device)
    grad = torch.ones(batch, rows, device=hidden.device)
    results = [*ops.sparse_logits_lse(*operands, None), *ops.sparse_topk(*operands, None, 20)]
    loss, lse = ops.sparse_cross_entropy_forward(*operands, targets)
    for deterministic in (False, True):
        results += ops.sparse_cross_entropy_backward(grad, *operands, targets, lse, deterministic)
    bits = torch.full(
        (batch, 2, -(-weight.shape[0] // 32)), -1, dtype=torch.int32, device=hidden.device
    )
    sums = ops.monte_carlo_lse(hidden, weight, bias, bits, 2)
    grads = torch.ones_like(sums)
    results += ops.monte_carlo_backward(grads, hidden, weight, bias, bits, sums, targets, 2)
    scores = bias.expand(batch, -1)[:, 10:]
    return [*results, loss, sums, *ops.select_topm(scores, 10, 50, None)]


def clean_layer(device: torch.device, seed: int, *, rows: int = 9) -> Layer:
    layer = random_layer(3, rows, 64, 500, 300, seed=seed, dtype=torch.bfloat16)
    return Layer(
        layer.hidden, layer.weight.nan_to_num(), layer.bias.nan_to_num(), layer.ids, layer.lengths
    ).to(device)


@pytest.mark.parametrize("rows", [1, 4, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("is_int8", [False, True])
def test_sizes_of_real_use(
    gpu_kernels: Kernels, rows: int, dtype: torch.dtype, is_int8: bool
) -> None:
    layer = random_layer(8, rows, 1024, 30_000, 2_000, seed=rows, dtype=dtype)
    layer = (with_int8_weight(layer) if is_int8 else layer).to(gpu_kernels.device)
    logits, lse = gpu_kernels.ops.sparse_logits_lse(*layer.operands(), layer.scales)
    expected, expected_lse = reference.logits_and_lse(layer)
    torch.testing.assert_close(logits.cpu().double(), expected.cpu(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(lse.cpu().double(), expected_lse.cpu(), rtol=1e-4, atol=1e-4)


def test_offsets_beyond_32_bits(gpu_kernels: Kernels) -> None:
    words, width = 2_200_000, 1024  # 2.25e9 elements, 4.5 GB
    if torch.cuda.mem_get_info()[0] < 12 * 2**30:
        pytest.skip("needs 12 GB of free GPU memory")
    device = gpu_kernels.device
    weight = torch.zeros(words, width, dtype=torch.bfloat16, device=device)
    weight[-1] = 1
    hidden = torch.ones(1, 9, width, dtype=torch.bfloat16, device=device)
    ids = torch.tensor([[3, words - 1]], device=device)
    lengths = torch.tensor([2], device=device)
    bias = torch.zeros(words, device=device)
    logits, _ = gpu_kernels.ops.sparse_logits_lse(hidden, weight, bias, ids, lengths, None)
    assert logits[0, 0].tolist() == [0, width]


def test_nothing_waits_for_the_device(gpu_kernels: Kernels, no_synchronisation: None) -> None:
    layer = clean_layer(gpu_kernels.device, 1)
    torch.cuda.synchronize()
    every_operator(gpu_kernels, layer)


@pytest.mark.parametrize("rows", [2, 9])
def test_a_graph_replays_on_new_values(gpu_kernels: Kernels, rows: int) -> None:
    layer, other = (clean_layer(gpu_kernels.device, seed, rows=rows) for seed in (2, 3))
    every_operator(gpu_kernels, layer)  # warm up outside of the graph
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = every_operator(gpu_kernels, layer)
    for into, out_of in zip(layer.operands(), other.operands(), strict=True):
        into.copy_(out_of)
    graph.replay()
    torch.cuda.synchronize()
    for actual, expected in zip(captured, every_operator(gpu_kernels, other), strict=True):
        # weight gradients by atomics differ in the last bits
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_the_current_stream_is_used(gpu_kernels: Kernels) -> None:
    """Operands that another stream still makes are waited for only by that stream."""
    layer = clean_layer(gpu_kernels.device, 4)
    expected = gpu_kernels.ops.sparse_logits_lse(*layer.operands(), None)[1]
    hidden, *rest = layer.operands()
    late = torch.zeros_like(hidden)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late.copy_(hidden)
        actual = gpu_kernels.ops.sparse_logits_lse(late, *rest, None)[1]
    stream.synchronize()
    assert torch.equal(actual, expected)


def test_a_second_gpu(gpu_kernels: Kernels) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU only")
    here = clean_layer(torch.device("cuda:0"), 5)
    there = clean_layer(torch.device("cuda:1"), 5)
    for actual, expected in zip(
        gpu_kernels.ops.sparse_topk(*there.operands(), None, 5),
        gpu_kernels.ops.sparse_topk(*here.operands(), None, 5),
        strict=True,
    ):
        assert actual.device == torch.device("cuda:1")
        assert torch.equal(actual.cpu(), expected.cpu())
