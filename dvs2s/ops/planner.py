"""Which way a fast kernel walks: example by example, word by word, or over the whole vocabulary.

All three make the same sums in the same order, so the choice changes the time and nothing else:
an example's result is the same alone and in any batch.
"""

import functools
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dvs2s.ops.library import ROUTES

logger = logging.getLogger("dvs2s")
Route = Literal["auto", "gather", "union", "dense"]
_ELEMENT = {torch.float32: 4, torch.bfloat16: 2, torch.float16: 2, torch.int8: 1}


@dataclass(frozen=True)
class Constants:
    """What the cost model knows of a machine; all threads in use together.

    Args:
        tile_rate: products a second where a tile has several hidden rows, in units of 1e9, for a
            weight of 4 bytes; narrower ones are faster by ``4 / bytes``.
        row_rate: the same with a single hidden row; between one and six the rate rises evenly.
        memory: GB a second read through an index from memory.
        cache: GB a second from the last cache.
        cache_bytes: up to which the weight rows in use count as cached.
        pair_ns: of listing and scattering one (word, example) pair by the union route.
        call_us: of a call.

    Source: cost model, docs/operators.md. The defaults were fitted to one
        thread of an AVX-512 core (benchmarks/results/operators.md).
    """

    tile_rate: float = 45.0
    row_rate: float = 12.5
    memory: float = 22.0
    cache: float = 34.0
    cache_bytes: float = 12e6
    pair_ns: float = 21.0
    call_us: float = 16.0


@dataclass(frozen=True)
class Shape:
    """One call: B examples, R rows each, K words of V, width H, bytes a weight."""

    batch: int
    rows: int
    words: int
    vocabulary: int
    width: int
    element: int = 4


def union_size(shape: Shape) -> float:
    """Returns how many different words a batch is expected to need, a third of them shared."""
    shared = shape.words / 3
    rest, of = shape.words - shared, max(1.0, shape.vocabulary - shared)
    together = shared + of * (1 - (1 - min(1.0, rest / of)) ** shape.batch)
    return min(together, shape.batch * shape.words, shape.vocabulary)


def estimate(shape: Shape, constants: Constants | None = None) -> dict[str, float]:
    """Returns the seconds that each route is expected to take.

    Source: ops cost model: arithmetic and reading, plus what a route does beside. Gather and dense
    read under the arithmetic; union's few products a row leave nothing to read under.
    """
    known = constants or machine()
    row_bytes = shape.width * shape.element
    needed = union_size(shape) * row_bytes
    fast = 4 / shape.element

    def arithmetic(products: float, rows: float) -> float:
        full = min(1.0, max(0.0, (rows - 1) / 5))  # a tile has about six hidden rows
        rate = known.row_rate + (known.tile_rate - known.row_rate) * full
        return products * shape.width / (rate * 1e9 * fast)

    def reading(moved: float, distinct: float) -> float:
        speed = known.cache if distinct <= known.cache_bytes else known.memory
        return moved / (speed * 1e9)

    pairs = shape.batch * shape.words
    lines = shape.batch * shape.rows
    together = pairs / max(1.0, union_size(shape)) * shape.rows
    table = shape.vocabulary * row_bytes
    call = known.call_us * 1e-6
    return {
        "gather": call
        + max(arithmetic(pairs * shape.rows, shape.rows), reading(pairs * row_bytes, needed)),
        "union": call
        + arithmetic(pairs * shape.rows, together)
        + reading(needed, needed)
        + pairs * shape.rows * known.pair_ns * 1e-9
        + shape.vocabulary * 1e-9,
        "dense": call
        + max(arithmetic(lines * shape.vocabulary, lines), reading(table, table))
        + pairs * shape.rows * 1e-9,
    }


def choose(route: Route, hidden: Tensor, weight: Tensor, ids: Tensor) -> int:
    """Returns the number of the route to take; ``auto`` is gather on a GPU and in a traced graph.

    Args:
        route: ``auto``, or a route to force.
        hidden: (B, R, H).
        weight: (V, H).
        ids: (B, K).

    Raises:
        ValueError: an unknown route.
    """
    if route != "auto":
        if route not in ROUTES:
            raise ValueError(f"route must be one of auto, {', '.join(ROUTES)}, got {route!r}")
        return ROUTES[route]
    if hidden.device.type != "cpu" or torch.compiler.is_compiling():
        return ROUTES["gather"]  # a traced graph would keep the first shapes' choice
    batch, rows, width = hidden.shape
    element = _ELEMENT.get(weight.dtype, 8)
    return _best(batch, rows, ids.shape[1], weight.shape[0], width, element)


@functools.lru_cache(maxsize=4096)
def _best(batch: int, rows: int, words: int, vocabulary: int, width: int, element: int) -> int:
    if batch <= 1 and words < vocabulary:
        return ROUTES["gather"]  # nothing to share
    costs = estimate(Shape(batch, rows, words, vocabulary, width, element))
    best = min(costs, key=costs.__getitem__)
    logger.debug("route %s for B=%d R=%d K=%d V=%d", best, batch, rows, words, vocabulary)
    return ROUTES[best]


def cache_file() -> Path:
    """Returns where measured constants are kept: DVS2S_PLANNER, or the user's cache folder."""
    named = os.environ.get("DVS2S_PLANNER")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "dvs2s" / "planner.json"


@functools.cache
def machine() -> Constants:
    """Returns the constants measured on this machine, or the defaults when none were."""
    path = cache_file()
    try:
        return parse(json.loads(path.read_text()))
    except FileNotFoundError:
        return Constants()
    except (OSError, ValueError, TypeError) as error:
        logger.warning(
            "planner constants in %s are not usable (%s): defaults serve; "
            "`python -m dvs2s.ops measure` writes them anew",
            path,
            error,
        )
        return Constants()


def parse(values: Mapping[str, float]) -> Constants:
    """Returns constants from their JSON form.

    Raises:
        ValueError: a missing, unknown or non-positive constant.
    """
    names = {field.name for field in fields(Constants)}
    if not isinstance(values, Mapping) or set(values) != names:
        raise ValueError(f"wanted exactly {', '.join(sorted(names))}")
    known = Constants(**{name: float(value) for name, value in values.items()})
    if not all(0 < value < float("inf") for value in asdict(known).values()):
        raise ValueError("every constant must be a positive number")
    return known


def save(constants: Constants) -> Path:
    """Writes the constants for the next start; returns the file."""
    path = cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(asdict(constants), indent=2) + "\n")
    part.replace(path)
    machine.cache_clear()
    _best.cache_clear()
    return path
