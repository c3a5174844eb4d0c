"""Pairs read another way round: the partners that reranking by mutual information needs."""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dvs2s.data.loader import Pairs
from dvs2s.text.specials import UNK

Pairing = Literal["forward", "reverse", "unconditional"]


class SizedPairs(Pairs, Protocol):
    """Pairs that know their lengths, as batches of similar length need (see ``PairCorpus``)."""

    @property
    def message_lengths(self) -> NDArray[np.int32]:
        """(N,) int32 tokens of each message."""
        ...

    @property
    def response_lengths(self) -> NDArray[np.int32]:
        """(N,) int32 tokens of each response, without EOS."""
        ...


class _Reverse:
    """Each response asks for its message: p(message | response)."""

    def __init__(self, pairs: SizedPairs) -> None:
        self._pairs = pairs
        self.message_lengths = pairs.response_lengths
        self.response_lengths = pairs.message_lengths

    def __len__(self) -> int:
        return len(self._pairs)

    def message(self, i: int) -> NDArray[np.int32]:
        return self._pairs.response(i)

    def response(self, i: int) -> NDArray[np.int32]:
        return self._pairs.message(i)


class _Unconditional:
    """Every message is the same unknown word: p(response), a language model."""

    def __init__(self, pairs: SizedPairs) -> None:
        self._pairs = pairs
        self.message_lengths = np.ones(len(pairs), dtype=np.int32)
        self.response_lengths = pairs.response_lengths

    def __len__(self) -> int:
        return len(self._pairs)

    def message(self, i: int) -> NDArray[np.int32]:
        return np.array([UNK], dtype=np.int32)

    def response(self, i: int) -> NDArray[np.int32]:
        return self._pairs.response(i)


def paired(pairs: SizedPairs, pairing: Pairing) -> SizedPairs:
    """Returns the pairs as a model with this ``data.pairing`` learns them.

    Raises:
        ValueError: another pairing.
    """
    match pairing:
        case "forward":
            return pairs
        case "reverse":
            return _Reverse(pairs)
        case "unconditional":
            return _Unconditional(pairs)
    raise ValueError(f"pairing must be forward, reverse or unconditional, got {pairing!r}")
