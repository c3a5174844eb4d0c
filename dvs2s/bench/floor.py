"""The least time that a machine's own rates leave for the engine's work."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from dvs2s.bench.presets import Setting
from dvs2s.bench.timing import CLOCKS
from dvs2s.model import ModelSizes
from dvs2s.ops.extension import load

_BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
_KINDS = {"fp32": 0, "bf16": 1, "int8": 2}
_SKETCH = 32  # bytes of a word's sketch at least
_ROW = 2048  # bytes of a row of the blocks read
_BLOCKS = tuple(1 << bits for bits in range(19, 29))  # 512 KiB to 256 MiB


@dataclass(frozen=True)
class Rates:
    """What a machine does at best, of all threads together.

    Args:
        reading: (bytes of a block, bytes read a second when it is read again and again), rising
            in the first.
        products: multiply-adds a second, by precision.
    """

    reading: tuple[tuple[int, float], ...]
    products: dict[str, float]

    def reads(self, amount: float) -> float:
        """Returns bytes a second at best where ``amount`` bytes are read again and again.

        No cache's size is taken for granted: it is the best rate of any block as large, or of the
        next smaller one.
        """
        sizes = [size for size, _ in self.reading]
        first = max(bisect_right(sizes, amount) - 1, 0)
        return max(rate for _, rate in self.reading[first:])


def measure_rates(clock: str = "wall") -> Rates | None:
    """Returns this machine's rates, the best of a few tries; None without the compiled kernels.

    Args:
        clock: a name of ``CLOCKS``, the one that the contenders are timed by.
    """
    if not load().path:
        return None
    products = {}
    for name, kind in _KINDS.items():
        work = partial(torch.ops.dvs2s.arithmetic_ceiling, kind, 200_000)
        products[name] = work() / _best(work, clock)
    largest = torch.ones(_BLOCKS[-1] // _ROW, _ROW, dtype=torch.int8)
    reading = []
    for size in _BLOCKS:
        ids = torch.arange(size // _ROW).repeat(max(_BLOCKS[4] // size, 1))  # 8 MiB at least
        read = partial(torch.ops.dvs2s.reading_ceiling, largest, ids)
        reading.append((size, ids.numel() * _ROW / _best(read, clock)))
    return Rates(tuple(reading), products)


def floor_seconds(
    sizes: ModelSizes,
    setting: Setting,
    rates: Rates,
    *,
    precision: str,
    dynamic: bool,
    words_in: int,
    words_out: int,
) -> float:
    """Returns the sum over stages of the longer of reading their weights and multiplying by them.

    A stage's weights are read once at the rate of all that a message reads, which is what lies
    between two messages, and from the second step on at the rate of the stage's own. Every word's
    share of the gates counts as kept, a step's hypotheses as the children of one parent, whose
    state they share, and attention, the search and everything that is not a product of matrices
    as nothing.

    Args:
        sizes: of the model.
        setting: the task.
        rates: of the machine.
        precision: fp32, bf16 or int8.
        dynamic: whether over |T| words chosen, or over all V.
        words_in: S; words_out: L.
    """
    H, D = sizes.hidden_size, sizes.predictor_size
    B, source = setting.batch, 2 * H + sizes.embedding_size
    stages = [
        _Stage(4 * H * source, B * words_in),
        _Stage(H * source, B),
        _Stage(3 * H * H, B, 2 * words_in),  # one direction, then the other
    ]
    if dynamic:
        chosen = setting.num_words - sizes.num_fixed
        stages += [_Stage(2 * sizes.bag_size * D, B), _Stage(0, B, private=chosen * D)]
    hypotheses = B * (1 + (words_out - 1) * setting.beam) / words_out  # the first step has one each
    own = setting.num_words * H if dynamic else 0
    shared = 0 if dynamic else sizes.vocabulary_size * H
    stages += [_Stage(4 * H * H, B, words_out), _Stage(shared, hypotheses, words_out, private=own)]
    sketches = (sizes.vocabulary_size - sizes.num_fixed) * _SKETCH if dynamic else 0
    amounts = [(one.weights + B * one.private) * _BYTES[precision] for one in stages]
    between = rates.reads(sum(amounts) + sketches)
    total = sketches / between
    for one, amount in zip(stages, amounts, strict=True):
        reading = amount / between + (one.times - 1) * amount / rates.reads(amount)
        products = one.times * (one.weights + one.private) * one.columns
        total += max(reading, products / rates.products[precision])
    return total


class _Stage(NamedTuple):
    """Weights, and a message's own, that are multiplied by ``columns`` vectors, ``times`` times.

    ``columns`` is the mean over the times.
    """

    weights: int
    columns: float
    times: int = 1
    private: int = 0


def _best(call: Callable[[], object], clock: str) -> float:
    best, now = float("inf"), CLOCKS[clock]
    for _ in range(5):
        start = now()
        call()
        best = min(best, now() - start)
    return best
