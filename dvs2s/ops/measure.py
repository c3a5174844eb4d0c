"""Measures the cost model's constants by timing the kernels themselves, a few seconds."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from dvs2s.ops.library import ROUTES
from dvs2s.ops.planner import Constants

_WIDTH = 1024


def measure(repeats: int = 9) -> Constants:
    """Returns this machine's constants, with as many threads as torch uses now.

    Args:
        repeats: timings of each probe, at least 1; the median counts.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    generator = torch.Generator().manual_seed(0)
    large = torch.randn(40_000, _WIDTH, generator=generator)  # 164 MB: larger than any cache
    small = large[:256].clone()
    narrow = torch.randn(40_000, 16, generator=generator)

    def probe(
        weight: Tensor, batch: int, rows: int, words: int, route: str, spread: bool = True
    ) -> float:
        total, width = weight.shape
        hidden = torch.randn(batch, rows, width, generator=generator)
        first = torch.arange(words)
        picked = [torch.randperm(total, generator=generator)[:words] for _ in range(batch)]
        ids = torch.stack([(row if spread else first).sort().values for row in picked])
        lengths = torch.full((batch,), words)
        bias = torch.zeros(total)
        call = torch.ops.dvs2s.sparse_logits
        return _median(
            lambda: call(hidden, weight, bias, ids, lengths, None, ROUTES[route]), repeats
        )

    base = probe(small[:, :16].contiguous(), 1, 1, 4, "gather")

    def rate(done: float, seconds: float) -> float:
        return done / max(seconds - base, 0.1 * seconds) / 1e9

    tile = rate(24 * 256 * _WIDTH, probe(small, 1, 24, 256, "gather", spread=False))
    row = rate(256 * _WIDTH, probe(small, 1, 1, 256, "gather", spread=False))
    memory = rate(16 * 1000 * _WIDTH * 4, probe(large, 16, 1, 1000, "gather"))
    cached = rate(2000 * _WIDTH * 4, probe(large, 1, 1, 2000, "gather"))
    pairs = 64 * 2000
    listing = probe(narrow, 64, 1, 2000, "union") - probe(narrow, 64, 1, 2000, "gather")
    return Constants(
        tile_rate=tile,
        row_rate=row,
        memory=memory,
        cache=max(cached, memory),
        pair_ns=max(1.0, listing / pairs * 1e9),
        call_us=base * 1e6,
    )


def _median(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]
