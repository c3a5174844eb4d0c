"""Cuts a corpus into the batches of one epoch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Lengths are compared in steps, with random order inside a step: composition changes from epoch
# to epoch at the price of this much padding. Responses cost the softmax, so their step is finer.
_RESPONSE_STEP = 2
_MESSAGE_STEP = 4


class BatchRule:
    """Lengths of N pairs and how many of them make a batch.

    Args:
        message_lengths: (N,) tokens, N >= 1.
        response_lengths: (N,) tokens without EOS.
        batch_size: pairs a batch; or
        max_tokens: limit of pairs * (longest message + longest response with EOS).

    Raises:
        ValueError: not exactly one rule, or it is too small for the longest pair.
    """

    def __init__(
        self,
        message_lengths: NDArray[np.integer],
        response_lengths: NDArray[np.integer],
        *,
        batch_size: int | None,
        max_tokens: int | None,
    ) -> None:
        if message_lengths.ndim != 1 or message_lengths.shape != response_lengths.shape:
            raise ValueError(
                "message_lengths and response_lengths must be of one shape (N,), got "
                f"{message_lengths.shape} and {response_lengths.shape}"
            )
        if len(message_lengths) == 0:
            raise ValueError("message_lengths must hold at least one pair, got 0")
        if (batch_size is None) == (max_tokens is None):
            raise ValueError(
                f"exactly one of batch_size and max_tokens must be given, got {batch_size} and "
                f"{max_tokens}"
            )
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        # An empty message is padded to one token, a response ends in EOS.
        self.messages = np.maximum(message_lengths, 1).astype(np.int32)
        self.responses = (response_lengths + 1).astype(np.int32)
        longest = int((self.messages + self.responses).max())
        if max_tokens is not None and max_tokens < longest:
            raise ValueError(
                f"max_tokens must be at least {longest}, the longest pair, got {max_tokens}"
            )
        self.batch_size = batch_size
        self.max_tokens = max_tokens

    def __len__(self) -> int:
        return len(self.messages)


@dataclass(frozen=True)
class EpochPlan:
    """One rank's batches of one epoch.

    Args:
        order: (N,) pair numbers of all ranks, neighbours in length beside one another.
        starts: (num_batches,) where in `order` each batch of this rank begins.
        stops: (num_batches,) where it ends.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @property
    def num_batches(self) -> int:
        """Number of this rank's batches."""
        return len(self.starts)

    def batch(self, position: int) -> NDArray[np.int64]:
        """Returns the pair numbers of a batch, (B,)."""
        return self.order[self.starts[position] : self.stops[position]]


def plan_epoch(
    rule: BatchRule, seed: tuple[int, int] | None, *, rank: int, world_size: int
) -> EpochPlan:
    """Returns the batches of one rank; a function of its arguments alone.

    Args:
        rule: lengths and batch size.
        seed: (seed, epoch), or None for an unshuffled epoch.
        rank: 0 to world_size - 1.
        world_size: number of ranks, at most the number of pairs.
    """
    generator = None if seed is None else np.random.default_rng(seed)
    order = _sorted_by_length(rule, generator)
    bounds = _cut_by_size(len(rule), rule.batch_size) if rule.batch_size else _cut(rule, order)
    bounds = _divisible(bounds, world_size)
    # Groups of world_size neighbours, so that the ranks do alike work in each step.
    groups = np.arange((len(bounds) - 1) // world_size, dtype=np.int64)
    if generator is not None:
        generator.shuffle(groups)
    batches = groups * world_size + rank
    return EpochPlan(order, bounds[batches], bounds[batches + 1])


def _sorted_by_length(rule: BatchRule, generator: np.random.Generator | None) -> NDArray[np.int64]:
    if generator is None:
        return np.lexsort((rule.messages, rule.responses)).astype(np.int64)
    order = generator.permutation(len(rule)).astype(np.int64)
    outer = rule.responses[order] // _RESPONSE_STEP
    inner = rule.messages[order] // _MESSAGE_STEP
    # Up and down in turns: a batch across two outer steps has messages of one length.
    inner = np.where(outer % 2 == 0, inner, -inner)
    return order[np.lexsort((inner, outer))]


def _cut_by_size(num_pairs: int, size: int) -> NDArray[np.int64]:
    return np.append(np.arange(0, num_pairs, size, dtype=np.int64), num_pairs)


def _cut(rule: BatchRule, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the bounds of batches as large as max_tokens allows."""
    assert rule.max_tokens is not None
    messages, responses = rule.messages[order], rule.responses[order]
    bounds, start = [0], 0
    while start < len(order):
        most = rule.max_tokens // int(messages[start] + responses[start])
        window = slice(start, start + most)
        width = np.maximum.accumulate(messages[window]).astype(np.int64)
        width += np.maximum.accumulate(responses[window])
        size = width * np.arange(1, len(width) + 1)  # grows, so the cut can be searched for
        start += int(np.searchsorted(size, rule.max_tokens, side="right"))
        bounds.append(start)
    return np.array(bounds, dtype=np.int64)


def _divisible(bounds: NDArray[np.int64], world_size: int) -> NDArray[np.int64]:
    """Returns bounds of a number of batches that divides by world_size; see BucketSampler."""
    missing = -(len(bounds) - 1) % world_size
    if len(bounds) - 1 + missing > bounds[-1]:  # more batches than pairs
        for _ in range((len(bounds) - 1) % world_size):
            bounds = np.delete(bounds, -2)
        return bounds
    for _ in range(missing):
        sizes = np.diff(bounds)
        largest = int(sizes.argmax())
        middle = bounds[largest] + sizes[largest] // 2
        bounds = np.insert(bounds, largest + 1, middle)
    return bounds
