"""The least time that a machine's own rates leave for the engine's work."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from dvs2s.bench.presets import Setting
from dvs2s.bench.timing import CLOCKS, read_bandwidth
from dvs2s.model import ModelSizes
from dvs2s.ops.extension import load

_BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
_KINDS = {"fp32": 0, "bf16": 1, "int8": 2}
_SKETCH = 32  # bytes of a word's sketch at least
_CACHED = 8 << 20  # bytes that a last cache holds beside others


@dataclass(frozen=True)
class Rates:
    """What a machine does at best, of all threads together.

    Args:
        from_memory, from_cache: bytes read a second.
        products: multiply-adds a second, by precision.
    """

    from_memory: float
    from_cache: float
    products: dict[str, float]


def measure_rates(clock: str = "wall") -> Rates | None:
    """Returns this machine's rates, the best of a few tries; None without the compiled kernels.

    Args:
        clock: a name of ``CLOCKS``, the one that the contenders are timed by.
    """
    if not load().path:
        return None
    block = torch.ones(4096, _CACHED // 4096, dtype=torch.int8)
    ids = torch.arange(4096)
    products = {}
    for name, kind in _KINDS.items():
        work = partial(torch.ops.dvs2s.arithmetic_ceiling, kind, 200_000)
        products[name] = work() / _best(work, clock)
    cached = block.numel() / _best(lambda: torch.ops.dvs2s.reading_ceiling(block, ids), clock)
    return Rates(read_bandwidth(clock), cached, products)


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

    Weights that fit the cache beside each other are read from there from the second step on.
    Attention, the search and everything that is not a product of matrices count as nothing.

    Args:
        sizes: of the model.
        setting: the task.
        rates: of the machine.
        precision: fp32, bf16 or int8.
        dynamic: whether over |T| words chosen, or over all V.
        words_in: S; words_out: L.
    """
    E, H, D = sizes.embedding_size, sizes.hidden_size, sizes.predictor_size
    B, source = setting.batch, 2 * sizes.hidden_size + sizes.embedding_size
    size = _BYTES[precision]

    def stage(weights: float, columns: float, times: int = 1, private: float = 0.0) -> float:
        """weights and private ones (a message's own) each read ``times`` times."""
        amount = (weights + B * private) * size
        again = rates.from_cache if amount <= _CACHED else rates.from_memory
        reading = amount / rates.from_memory + (times - 1) * amount / again
        return max(reading, times * (weights + private) * columns / rates.products[precision])

    total = stage(6 * H * E + 4 * H * source, B * words_in) + stage(H * source, B)
    total += stage(6 * H * H / 2, B, 2 * words_in)  # one direction, then the other
    if dynamic:
        chosen = setting.num_words - sizes.num_fixed
        total += stage(2 * sizes.bag_size * D, B) + stage(0, B, private=chosen * D)
        total += (sizes.vocabulary_size - sizes.num_fixed) * _SKETCH / rates.from_memory
    cell = 4 * H * H + 3 * H * E
    own = setting.num_words * H if dynamic else 0
    shared = 0 if dynamic else sizes.vocabulary_size * H
    return total + stage(cell + shared, B * setting.beam, words_out, private=own)


def _best(call: Callable[[], object], clock: str) -> float:
    best, now = float("inf"), CLOCKS[clock]
    for _ in range(5):
        start = now()
        call()
        best = min(best, now() - start)
    return best
