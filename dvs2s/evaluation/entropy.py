"""How much a reply says, by how rare its words are in the training responses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EntropyScores:
    """Bits and words of each reply.

    Args:
        bits: (N,) float64, Σ -log2 p(w) over the words that occur in training.
        words: (N,) float64, how many those are.
    """

    bits: NDArray[np.float64]
    words: NDArray[np.float64]


def unigram_entropy(replies: Sequence[Sequence[str]], counts: Mapping[str, int]) -> EntropyScores:
    """Returns the surprise of each reply's words under the training responses' word frequencies.

    A word that never occurs there has no probability and is left out. Bits by words is the entropy
    a word, bits by replies the entropy an utterance.

    Args:
        replies: lists of tokens.
        counts: occurrences of each word in the training responses, at least one above 0.

    Raises:
        ValueError: no count above 0, or one below.

    Source: Serban et al. 2017, section 5.3.
    """
    total = sum(counts.values())
    if total < 1 or min(counts.values()) < 0:
        raise ValueError(
            f"counts must be 0 or more and some above it, got {len(counts)} with a sum of {total}: "
            "count the words of the training responses"
        )
    surprise = {w: float(np.log2(total) - np.log2(n)) for w, n in counts.items() if n}
    known = [[surprise[word] for word in reply if word in surprise] for reply in replies]
    return EntropyScores(
        np.array([sum(reply) for reply in known], dtype=np.float64),
        np.array([len(reply) for reply in known], dtype=np.float64),
    )
