"""A prepared corpus on disk, memory-mapped."""

from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dvs2s.data.arrays import (
    COUNTS_NAME,
    COUNTS_TYPE,
    OFFSETS_TYPE,
    TOKENS_TYPE,
    offsets_path,
    tokens_path,
)
from dvs2s.data.manifest import Manifest, SplitCounts
from dvs2s.errors import DataError
from dvs2s.text.vocabulary import Vocabulary

_T = TypeVar("_T", bound=np.generic)
_COUNT_CHUNK = 100_000  # pairs at a time, so that memory stays flat


class PairCorpus:
    """N pairs of message and response as ids without BOS and EOS; pages are shared when forked.

    Args:
        tokens: flat int32 ids of message 0, response 0, message 1, ...
        offsets: (2N+1,) int64 bounds in `tokens`.
    """

    def __init__(self, tokens: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
        self._tokens = tokens
        self._offsets = offsets
        lengths = np.diff(offsets).astype(np.int32)
        self.message_lengths: NDArray[np.int32] = np.ascontiguousarray(lengths[0::2])
        """(N,) int32 tokens of each message."""
        self.response_lengths: NDArray[np.int32] = np.ascontiguousarray(lengths[1::2])
        """(N,) int32 tokens of each response, without EOS."""

    def __len__(self) -> int:
        return len(self.message_lengths)

    def message(self, i: int) -> NDArray[np.int32]:
        """Returns the ids of message i, (length,) int32, read-only.

        Raises:
            IndexError: i is not in 0..N-1.
        """
        return self._side(i, 0)

    def response(self, i: int) -> NDArray[np.int32]:
        """Returns the ids of response i, (length,) int32, read-only.

        Raises:
            IndexError: i is not in 0..N-1.
        """
        return self._side(i, 1)

    def count_response_words(self, num_words: int) -> NDArray[np.int64]:
        """Returns how often each word occurs in the responses, (num_words,) int64.

        Args:
            num_words: V; every id is below it.
        """
        counts = np.zeros(num_words, dtype=np.int64)
        for first in range(0, len(self), _COUNT_CHUNK):
            bounds = self._offsets[2 * first : 2 * (first + _COUNT_CHUNK) + 1]
            is_response = np.arange(len(bounds) - 1) % 2 == 1
            of_response = np.repeat(is_response, np.diff(bounds))
            tokens = self._tokens[bounds[0] : bounds[-1]][of_response]
            counts += np.bincount(tokens, minlength=num_words)
        return counts

    def _side(self, i: int, side: int) -> NDArray[np.int32]:
        if not 0 <= i < len(self):
            raise IndexError(f"pair number must be 0 to {len(self) - 1}, got {i}")
        k = 2 * i + side
        return self._tokens[self._offsets[k] : self._offsets[k + 1]]


class PreparedData:
    """What `prepare` wrote; open it with `PreparedData.open`."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        vocabulary: Vocabulary,
        response_counts: NDArray[np.int64],
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.vocabulary = vocabulary
        self.response_counts = response_counts
        """(V,) int64: training responses that hold each word at least once."""

    @classmethod
    def open(cls, folder: Path) -> "PreparedData":
        """Returns the prepared data of a folder, after checking that its files fit together.

        Raises:
            DataError: a file is missing, truncated or of other data.
            VocabularyError: the vocabulary file is damaged.
        """
        manifest = Manifest.load(folder)
        vocabulary = Vocabulary.load(folder / "vocabulary.json")
        if vocabulary.fingerprint != manifest.vocabulary_fingerprint:
            raise DataError(f"{folder}: vocabulary.json belongs to other data: prepare again")
        counts = _map(folder / COUNTS_NAME, COUNTS_TYPE, len(vocabulary))
        for split, numbers in manifest.splits.items():
            _map_split(folder, split, numbers)
        return cls(folder, manifest, vocabulary, np.array(counts, dtype=np.int64))

    @property
    def fingerprint(self) -> str:
        """SHA-256 that changes with sources, options or vocabulary."""
        return self.manifest.fingerprint

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return tuple(self.manifest.splits)

    def split(self, name: str) -> PairCorpus:
        """Returns the pairs of a split.

        Raises:
            ValueError: there is no split of this name.
            DataError: its files are damaged.
        """
        if name not in self.manifest.splits:
            raise ValueError(
                f"split must be one of {', '.join(self.manifest.splits)}, got {name!r}"
            )
        tokens, offsets = _map_split(self.folder, name, self.manifest.splits[name])
        if offsets[0] != 0 or offsets[-1] != len(tokens) or (np.diff(offsets) < 0).any():
            raise DataError(f"{offsets_path(self.folder, name)}: damaged: prepare again")
        return PairCorpus(tokens, offsets)


def _map_split(
    folder: Path, split: str, counts: SplitCounts
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    num_tokens = counts.message_tokens + counts.response_tokens
    tokens = _map(tokens_path(folder, split), TOKENS_TYPE, num_tokens)
    offsets = _map(offsets_path(folder, split), OFFSETS_TYPE, 2 * counts.pairs + 1)
    return tokens, offsets


def _map(path: Path, kind: np.dtype[_T], length: int) -> NDArray[_T]:
    """Returns the file as a read-only array, after checking its size."""
    try:
        size = path.stat().st_size
        if size != length * kind.itemsize:
            raise DataError(
                f"{path}: {size} bytes, expected {length * kind.itemsize}: truncated or of other "
                "data: prepare again"
            )
        # A plain array over the mapping: slicing np.memmap itself is several times slower.
        return np.asarray(np.memmap(path, dtype=kind, mode="r", shape=(length,)))
    except OSError as error:
        raise DataError(f"{path}: cannot read it ({error.strerror}): prepare again") from None
