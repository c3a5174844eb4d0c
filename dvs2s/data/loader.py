"""An endless, resumable stream of batches of pairs of similar length."""

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dvs2s.data.batch import Batch, make_batch
from dvs2s.data.buckets import BatchRule, EpochPlan, plan_epoch

Indices = NDArray[np.int64]


class Pairs(Protocol):
    """What a loader reads: N pairs of id arrays without BOS and EOS (see corpus.PairCorpus)."""

    def __len__(self) -> int: ...

    def message(self, i: int) -> NDArray[np.int32]:
        """Returns message i, (length,) int32."""

    def response(self, i: int) -> NDArray[np.int32]:
        """Returns response i, (length,) int32."""


class BucketSampler:
    """Endless batches of pair numbers; pairs of similar length share a batch.

    The batches of an epoch are a function of (lengths, batch rule, seed, epoch, world_size) alone,
    so a state is two numbers. An epoch holds every pair exactly once over all ranks. All ranks get
    equally many batches: where the number does not divide by world_size, the largest batches are
    cut in two until it does; where that would need more batches than there are pairs, the last ones
    are put together instead, over the limit. Ranks get neighbours in length at the same step.

    Args:
        message_lengths: (N,) tokens of each message.
        response_lengths: (N,) tokens of each response, without EOS.
        batch_size: pairs a batch (the last of an epoch may be smaller); or
        max_tokens: limit of pairs * (longest message + longest response with EOS) of a batch.
            Exactly one of the two is given.
        seed: 0 or more.
        rank: this process, 0 to world_size - 1.
        world_size: number of processes that share an epoch.
        shuffle: False gives the same batches, shortest first, in every epoch.

    Raises:
        ValueError: an argument is out of range, or there are fewer pairs than processes.
    """

    def __init__(
        self,
        message_lengths: NDArray[np.integer],
        response_lengths: NDArray[np.integer],
        *,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
    ) -> None:
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be 0 to world_size-1={world_size - 1}, got {rank}")
        self._rule = BatchRule(
            message_lengths, response_lengths, batch_size=batch_size, max_tokens=max_tokens
        )
        if len(self._rule) < world_size:
            raise ValueError(
                f"world_size must be at most the number of pairs {len(self._rule)}, "
                f"got {world_size}: use fewer processes or more data"
            )
        self._rank, self._world_size = rank, world_size
        self._seed = seed if shuffle else None
        self._epoch, self._position = 0, 0
        self._plan: EpochPlan | None = None

    @property
    def batches_per_epoch(self) -> int:
        """This rank's batches in the current epoch; with max_tokens epochs may differ a little."""
        return self._current_plan().num_batches

    def __iter__(self) -> "BucketSampler":
        return self

    def __next__(self) -> Indices:
        if self._position >= self._current_plan().num_batches:
            self._epoch, self._position, self._plan = self._epoch + 1, 0, None
        indices = self._current_plan().batch(self._position)
        self._position += 1
        return indices

    def one_epoch(self) -> Iterator[Indices]:
        """Yields this rank's share of all pairs once, shortest first, the same in every call.

        Neither uses nor changes the state.
        """
        plan = plan_epoch(self._rule, None, rank=self._rank, world_size=self._world_size)
        for position in range(plan.num_batches):
            yield plan.batch(position)

    def state_dict(self) -> dict[str, int]:
        """Returns {"epoch": ..., "position": batches of it already given out}."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on with exactly the batch that would have come next.

        Raises:
            ValueError: the state does not fit this sampler.
        """
        if set(state) != {"epoch", "position"} or not all(
            type(value) is int and value >= 0 for value in state.values()
        ):
            raise ValueError(f"state must be {{epoch, position}} of ints >= 0, got {dict(state)}")
        plan = self._make_plan(state["epoch"])
        if state["position"] > plan.num_batches:
            raise ValueError(
                f"state position must be at most {plan.num_batches} batches of this epoch, got "
                f"{state['position']}: the data or the batch size has changed since it was saved"
            )
        self._epoch, self._position, self._plan = state["epoch"], state["position"], plan

    def _current_plan(self) -> EpochPlan:
        if self._plan is None:
            self._plan = self._make_plan(self._epoch)
        return self._plan

    def _make_plan(self, epoch: int) -> EpochPlan:
        seed = None if self._seed is None else (self._seed, epoch)
        return plan_epoch(self._rule, seed, rank=self._rank, world_size=self._world_size)


class Loader:
    """Endless batches of a corpus in the order of a sampler; its state is the sampler's.

    Args:
        corpus: the pairs.
        sampler: made from the lengths of the same corpus.
    """

    def __init__(self, corpus: Pairs, sampler: BucketSampler) -> None:
        self._corpus = corpus
        self._sampler = sampler

    @property
    def batches_per_epoch(self) -> int:
        """See BucketSampler.batches_per_epoch."""
        return self._sampler.batches_per_epoch

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> Batch:
        return self._make(next(self._sampler))

    def one_epoch(self) -> Iterator[Batch]:
        """Yields every pair once, unshuffled, for evaluation; leaves the state alone."""
        for indices in self._sampler.one_epoch():
            yield self._make(indices)

    def state_dict(self) -> dict[str, int]:
        """See BucketSampler.state_dict."""
        return self._sampler.state_dict()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """See BucketSampler.load_state_dict."""
        self._sampler.load_state_dict(state)

    def _make(self, indices: Indices) -> Batch:
        numbers = indices.tolist()
        # a sample of a corpus says which pairs of the corpus its own are
        origins = getattr(self._corpus, "origins", None)
        return make_batch(
            [self._corpus.message(i) for i in numbers],
            [self._corpus.response(i) for i in numbers],
            indices if origins is None else origins[indices],
        )
