"""Sparse logits, top-k and the loss against float64, on sizes off every tile's edge."""

import math
from dataclasses import replace

import kernel_reference as reference
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_builds import Kernels
from kernel_reference import Layer, random_layer, with_int8_weight
from torch import Tensor

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# float32 is three products of tf32 parts; 16-bit products are exact, their sums float32's
CLOSE = {"rtol": 3e-5, "atol": 3e-5}


def run_logits(kernels: Kernels, layer: Layer) -> tuple[Tensor, Tensor]:
    there = layer.to(kernels.device)
    logits, lse = kernels.ops.sparse_logits_lse(*there.operands(), there.scales)
    return logits.cpu().double(), lse.cpu().double()


def run_best(kernels: Kernels, layer: Layer, k: int) -> tuple[Tensor, ...]:
    there = layer.to(kernels.device)
    return tuple(x.cpu() for x in kernels.ops.sparse_topk(*there.operands(), there.scales, k))


def check_best(kernels: Kernels, layer: Layer, k: int) -> None:
    """The k best by sorting the kernels' own logits: equal bit for bit, ties included."""
    logits, lse = (x.float() for x in run_logits(kernels, layer))
    width = max(k, logits.shape[2])
    padded = torch.full((*logits.shape[:2], width), -math.inf)
    padded[..., : logits.shape[2]] = logits
    order = padded.argsort(dim=-1, descending=True, stable=True)[..., :k]
    expected = padded.gather(-1, order) - lse[..., None]
    past = order >= layer.lengths[:, None, None]
    scores, slots, actual_lse = run_best(kernels, layer, k)
    assert torch.equal(slots, order)
    assert torch.equal(scores, expected.masked_fill(past, -math.inf))
    assert torch.equal(actual_lse, lse)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    rows=st.sampled_from([1, 2, 3, 5, 7, 8, 9, 20, 33]),
    width=st.sampled_from([1, 3, 8, 33, 64, 100, 136]),
    slots=st.integers(1, 200),
    k=st.integers(1, 64),
    dtype=st.sampled_from(DTYPES),
    is_int8=st.booleans(),
    narrow=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_logits_lse_and_best(
    kernels: Kernels,
    batch: int,
    rows: int,
    width: int,
    slots: int,
    k: int,
    dtype: torch.dtype,
    is_int8: bool,
    narrow: bool,
    seed: int,
) -> None:
    layer = random_layer(batch, rows, width, slots + 50, slots, seed=seed, dtype=dtype)
    layer = with_int8_weight(layer) if is_int8 else layer
    if narrow:
        layer = replace(layer, ids=layer.ids.int(), lengths=layer.lengths.int())
    logits, lse = run_logits(kernels, layer)
    expected, expected_lse = reference.logits_and_lse(layer)
    torch.testing.assert_close(logits, expected, **CLOSE)
    torch.testing.assert_close(lse, expected_lse, **CLOSE)
    check_best(kernels, layer, k)
