"""Second pass: a split's spilled tokens to flat arrays of ids on disk."""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dvs2s.data.manifest import SplitCounts
from dvs2s.data.tokenise import SEPARATOR
from dvs2s.text.specials import SEP, UNK
from dvs2s.text.vocabulary import Vocabulary

TOKENS_TYPE = np.dtype("<i4")
OFFSETS_TYPE = np.dtype("<i8")
COUNTS_TYPE = np.dtype("<i8")
COUNTS_NAME = "response_counts.i64"
_CHUNK_LINES = 10_000


def tokens_path(folder: Path, split: str) -> Path:
    """Returns the file of all ids: message 0, response 0, message 1, response 1, ..."""
    return folder / f"{split}.tokens.i32"


def offsets_path(folder: Path, split: str) -> Path:
    """Returns the file of 2N+1 offsets: message i is [2i, 2i+1), response i [2i+1, 2i+2)."""
    return folder / f"{split}.offsets.i64"


def encode_split(
    spill: Path,
    split: str,
    vocabulary: Vocabulary,
    counts: SplitCounts,
    *,
    advance: Callable[[int], None],
) -> NDArray[np.int64]:
    """Writes the ids of a split beside its spill file, and fills in the unknown tokens' counts.

    Args:
        spill: what `tokenise_split` wrote.
        split: its name.
        vocabulary: the ids.
        counts: gets the numbers of unknown tokens.
        advance: called with the number of pairs written.

    Returns:
        (V,) int64: how many responses of the split hold each word at least once.
    """
    ids = {**vocabulary.ids, SEPARATOR: SEP}
    responses_with = np.zeros(len(vocabulary), dtype=np.int64)
    written = 0
    with (
        tokens_path(spill.parent, split).open("wb") as tokens_file,
        offsets_path(spill.parent, split).open("wb") as offsets_file,
    ):
        offsets_file.write(np.zeros(1, OFFSETS_TYPE).tobytes())
        for lines in _chunks(spill):
            tokens, lengths = _encode(lines, ids)
            tokens_file.write(tokens.tobytes())
            offsets_file.write((np.cumsum(lengths) + written).astype(OFFSETS_TYPE).tobytes())
            written += len(tokens)
            _count(tokens, lengths, counts, responses_with)
            advance(len(lines))
        for file in (tokens_file, offsets_file):
            _sync(file)
    return responses_with


def write_synced(path: Path, content: bytes) -> None:
    """Writes a file and waits until it is on disk."""
    with path.open("wb") as file:
        file.write(content)
        _sync(file)


def _chunks(spill: Path) -> Iterator[list[str]]:
    # newline="\n": a token may hold characters that Python also takes for line ends.
    with spill.open(encoding="utf-8", newline="\n") as file:
        while lines := list(islice(file, _CHUNK_LINES)):
            yield lines


def _encode(lines: list[str], ids: dict[str, int]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Returns (ids of all sides one after another, length of each side)."""
    tokens: list[int] = []
    lengths: list[int] = []
    get = ids.get
    for line in lines:
        for side in line[:-1].split("\t"):
            words = side.split(" ")
            tokens.extend([get(word, UNK) for word in words])
            lengths.append(len(words))
    return np.array(tokens, dtype=TOKENS_TYPE), np.array(lengths, dtype=np.int64)


def _count(
    tokens: NDArray[np.int32],
    lengths: NDArray[np.int64],
    counts: SplitCounts,
    responses_with: NDArray[np.int64],
) -> None:
    side = np.repeat(np.arange(len(lengths)), lengths)
    is_response = side % 2 == 1
    unknown = tokens == UNK
    counts.unknown_response_tokens += int((unknown & is_response).sum())
    counts.unknown_message_tokens += int((unknown & ~is_response).sum())
    size = len(responses_with)
    once = np.unique(side[is_response] * size + tokens[is_response]) % size
    responses_with += np.bincount(once, minlength=size)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
