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

pytestmark = pytest.mark.usefixtures("unwritten_is_nan")
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


@pytest.mark.parametrize("rows", [1, 9])
def test_ties_go_to_the_lower_slot_and_missing_words_come_last(kernels: Kernels, rows: int) -> None:
    layer = random_layer(2, rows, 16, 150, 140, seed=1, lengths=[140, 5])
    layer = replace(layer, weight=torch.zeros_like(layer.weight), bias=torch.zeros(150))
    layer.bias[layer.words(1)[2]] = -math.inf
    scores, slots, _ = run_best(kernels, layer, 8)
    assert slots[0, 0].tolist() == list(range(8))
    assert slots[1, 0].tolist() == [0, 1, 3, 4, 2, 5, 6, 7]
    assert scores[1, 0, 4:].tolist() == [-math.inf] * 4
    check_best(kernels, layer, 64)


@pytest.mark.parametrize("rows", [2, 11])
@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_extreme_logits(kernels: Kernels, rows: int, scale: float) -> None:
    layer = random_layer(2, rows, 24, 300, 170, seed=2)
    layer = replace(layer, bias=(layer.bias * scale).nan_to_num())
    layer.bias[layer.words(0)[::3]] = -math.inf
    logits, lse = run_logits(kernels, layer)
    expected, expected_lse = reference.logits_and_lse(layer)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(lse, expected_lse, rtol=1e-5, atol=1e-3)
    check_best(kernels, layer, 20)


@pytest.mark.parametrize("place", [3, 40])
def test_a_nan_shows_and_stays_in_its_example(kernels: Kernels, place: int) -> None:
    layer = random_layer(2, 9, 16, 90, 80, seed=3, lengths=[80, 30])
    inside_first = [w for w in layer.words(0).tolist() if w not in layer.words(1).tolist()]
    layer.weight[inside_first[place], 5] = math.nan
    _, lse = run_logits(kernels, layer)
    assert lse[0].isnan().all() and not lse[1].isnan().any()


@pytest.mark.parametrize("rows", [1, 8])
def test_an_id_out_of_range_is_nan_and_reads_nothing(kernels: Kernels, rows: int) -> None:
    layer = random_layer(1, rows, 8, 40, 20, seed=4, lengths=[20])
    for bad in (-1, 40, 2**40):
        layer.ids[0, 3] = bad
        logits, _ = run_logits(kernels, layer)
        assert logits[0, :, 3].isnan().all() and not logits[0, :, 4:].isnan().any()


@pytest.mark.parametrize("rows", [1, 5, 20])
def test_an_example_has_the_same_bits_alone_and_in_any_batch(kernels: Kernels, rows: int) -> None:
    """Not the neighbours, nor their number, nor the width that ids are padded to."""
    layer = random_layer(5, rows, 40, 400, 333, seed=5, lengths=[333, 64, 200, 1, 70])
    logits, lse = run_logits(kernels, layer)
    best = run_best(kernels, layer, 7)
    for b in range(5):
        length = int(layer.lengths[b])
        ids = layer.ids[b : b + 1, : length + 3 * b]
        alone = replace(
            layer, hidden=layer.hidden[b : b + 1], ids=ids, lengths=layer.lengths[b : b + 1]
        )
        alone_logits, alone_lse = run_logits(kernels, alone)
        assert torch.equal(alone_logits[0, :, :length], logits[b, :, :length])
        assert torch.equal(alone_lse[0], lse[b])
        for mine, all_of in zip(run_best(kernels, alone, 7), best, strict=True):
            assert torch.equal(mine[0], all_of[b])


def test_views_and_nothing_at_all(kernels: Kernels) -> None:
    wide = random_layer(3, 9, 32, 80, 60, seed=6)
    gaps = replace(
        wide,
        hidden=torch.stack([wide.hidden, wide.hidden], -1)[..., 0],
        weight=torch.cat([wide.weight, wide.weight], 1)[:, :32],
        bias=wide.bias.repeat_interleave(2)[::2],
        ids=wide.ids.T.contiguous().T,
    )
    for actual, expected in zip(run_logits(kernels, gaps), run_logits(kernels, wide), strict=True):
        assert torch.equal(actual, expected)
    # rows that are whole units of 16 bytes, but start off their edge
    shifted = replace(
        wide, weight=torch.cat([torch.zeros(1), wide.weight.flatten()])[1:].view(80, 32)
    )
    torch.testing.assert_close(run_logits(kernels, shifted), run_logits(kernels, wide))
    for batch, rows in [(0, 3), (2, 0)]:
        none = replace(wide, hidden=wide.hidden[:batch, :rows], ids=wide.ids[:batch])
        none = replace(none, lengths=wide.lengths[:batch])
        assert run_logits(kernels, none)[0].shape == (batch, rows, 60)
        assert run_best(kernels, none, 3)[1].shape == (batch, rows, 3)


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 3),
    rows=st.sampled_from([1, 4, 8, 21, 40]),
    width=st.sampled_from([1, 5, 24, 64, 70, 130]),
    slots=st.integers(1, 150),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 10**6),
)
def test_cross_entropy(
    kernels: Kernels,
    batch: int,
    rows: int,
    width: int,
    slots: int,
    dtype: torch.dtype,
    seed: int,
) -> None:
    layer = random_layer(batch, rows, width, slots + 20, slots, seed=seed, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    targets = (torch.rand(batch, rows, generator=generator) * layer.lengths[:, None]).long()
    targets[torch.rand(batch, rows, generator=generator) < 0.2] = -1
    there = layer.to(kernels.device)
    loss, lse = kernels.ops.sparse_cross_entropy_forward(
        *there.operands(), targets.to(kernels.device)
    )
    torch.testing.assert_close(lse.cpu().double(), reference.logits_and_lse(layer)[1], **CLOSE)
    torch.testing.assert_close(loss.cpu().double(), reference.losses(layer, targets), **CLOSE)


def test_a_target_outside_of_the_vocabulary(kernels: Kernels) -> None:
    layer = random_layer(1, 9, 8, 200, 150, seed=7, lengths=[3]).to(kernels.device)
    targets = torch.tensor([[0, 2, 3, 140, 149, 150, 999, -1, -5]], device=kernels.device)
    loss, _ = kernels.ops.sparse_cross_entropy_forward(*layer.operands(), targets)
    values = loss[0].cpu()
    assert values[:2].isfinite().all()
    assert values[2:5].tolist() == [math.inf] * 3
    assert values[5:7].isnan().all()
    assert values[7:].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": torch.zeros(2, 3)}, "hidden must be"),
        ({"hidden": torch.zeros(2, 3, 8).double()}, "hidden"),
        ({"weight": torch.zeros(9, 7)}, "weight must be"),
        ({"weight": torch.zeros(9, 8).half()}, "weight must be of hidden's type"),
        ({"weight": torch.zeros(9, 8).to(torch.int8)}, "scales"),
        ({"bias": torch.zeros(8)}, "bias must be"),
        ({"ids": torch.zeros(3, 4).long()}, "ids must be"),
        ({"ids": torch.zeros(2, 4)}, "ids must be int32 or int64"),
        ({"lengths": torch.zeros(3).long()}, "lengths must be"),
    ],
)
def test_wrong_operands_are_named(
    kernels: Kernels, change: dict[str, Tensor], message: str
) -> None:
    layer = replace(random_layer(2, 3, 8, 9, 4, seed=8), **change)
    with pytest.raises(RuntimeError, match=message):
        run_logits(kernels, layer)
    with pytest.raises(RuntimeError, match=r"k must be in 1\.\.64, got 65"):
        run_best(kernels, random_layer(2, 3, 8, 9, 4, seed=8), 65)
