"""A share of the pairs of a corpus: how does a model fare with less data?"""

import numpy as np
from numpy.typing import NDArray

from dvs2s.data.pairings import SizedPairs


class Sample:
    """Some pairs of a corpus, drawn by the seed alone, in the corpus' order.

    Samples of one seed lie inside each other: what a small one holds the larger ones hold, too,
    so that a curve over fractions shows more data and not other data.

    Args:
        pairs: the corpus.
        fraction: share of the pairs, above 0 and at most 1; at least one pair is drawn.
        seed: 0 or more.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(self, pairs: SizedPairs, fraction: float, *, seed: int) -> None:
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}")
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}")
        count = max(1, round(fraction * len(pairs)))
        order = np.random.default_rng(seed).permutation(len(pairs))
        self._pairs = pairs
        self.origins: NDArray[np.int64] = np.sort(order[:count]).astype(np.int64)
        """(N,) int64: the number of each pair in the corpus, ascending."""
        self.message_lengths: NDArray[np.int32] = pairs.message_lengths[self.origins]
        self.response_lengths: NDArray[np.int32] = pairs.response_lengths[self.origins]

    def __len__(self) -> int:
        return len(self.origins)

    def message(self, i: int) -> NDArray[np.int32]:
        """Returns message i of the sample, (length,) int32."""
        return self._pairs.message(int(self.origins[i]))

    def response(self, i: int) -> NDArray[np.int32]:
        """Returns response i of the sample, (length,) int32."""
        return self._pairs.response(int(self.origins[i]))
