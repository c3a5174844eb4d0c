"""The one module that touches torchtext (0.6.0): tokenise, choose words, load vectors.

Source: torchtext 0.6.0, `torchtext.vocab` and `torchtext.data.utils`. Nothing of torchtext leaves
this module: callers get plain lists and arrays, so no checkpoint ever holds one of its objects.
"""

import gzip
import logging
import os
import ssl
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from dvs2s.errors import DataError, Dvs2sError

_VERSION = "0.6.0"
_MEND = f"run `pip install torchtext=={_VERSION}` (later releases do not work with this torch)"


def basic_english() -> Callable[[str], list[str]]:
    """Returns torchtext's `basic_english` function: lower case, punctuation split off.

    Raises:
        Dvs2sError: torchtext is missing or of another version.
    """
    utils = _torchtext("torchtext.data.utils")
    return cast(Callable[[str], list[str]], utils.get_tokenizer("basic_english"))


def build_words(
    counter: Mapping[str, int], max_size: int, min_count: int, *, specials: Sequence[str] = ()
) -> list[tuple[str, int]]:
    """Returns the kept words with their counts, most frequent first, ties in code point order.

    Args:
        counter: how often each word occurs; not changed.
        max_size: keep at most this many words (specials not counted); at least 1.
        min_count: keep only words that occur at least this often; at least 1.
        specials: strings that are never kept, however often they occur.

    Raises:
        ValueError: max_size or min_count is below 1.
        Dvs2sError: torchtext is missing or of another version.
    """
    if max_size < 1:
        raise ValueError(f"max_size must be at least 1, got {max_size}: keep at least one word")
    if min_count < 1:
        raise ValueError(f"min_count must be at least 1, got {min_count}: use 1 to keep all words")
    frequent = Counter({word: count for word, count in counter.items() if count >= min_count})
    vocab = _torchtext("torchtext.vocab").Vocab(
        frequent, max_size=max_size, min_freq=min_count, specials=list(specials)
    )
    return [(word, frequent[word]) for word in vocab.itos[len(specials) :]]


def load_vectors(path: Path, words: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Returns pretrained vectors aligned with `words`, and which words were found.

    Reads the usual text format (`word number number ...`, an optional `count width` first line,
    plain or .gz). The file is checked line by line before torchtext reads it, and torchtext's
    pickle cache is made in a private folder and thrown away: it is never loaded from a place
    where others can write.

    Args:
        path: the vector file.
        words: the vocabulary's words in order of their ids.

    Returns:
        A (len(words), E) float32 matrix, zero in rows without a vector, and a (len(words),) bool
        array that is True where the file has one.

    Raises:
        DataError: the file is missing, empty, or has a row of another width (as with a space
            inside the word) or something that is no finite number; file and line are named.
        Dvs2sError: torchtext is missing or of another version.
    """
    width = _check_vector_file(path)
    with tempfile.TemporaryDirectory(prefix="dvs2s-vectors-") as cache, _quiet():
        vectors = _torchtext("torchtext.vocab").Vectors(str(path), cache=cache)
    matrix = np.zeros((len(words), width), dtype=np.float32)
    found = np.zeros(len(words), dtype=np.bool_)
    rows = vectors.vectors.numpy()
    for i, word in enumerate(words):
        row = vectors.stoi.get(word)
        if row is not None:
            matrix[i] = rows[row]
            found[i] = True
    return matrix, found


def _torchtext(module: str) -> Any:
    try:
        version = metadata.version("torchtext")
    except metadata.PackageNotFoundError:
        raise Dvs2sError(f"torchtext is not installed: {_MEND}") from None
    if version != _VERSION:
        raise Dvs2sError(f"torchtext {version} is installed, {_VERSION} is needed: {_MEND}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return import_module(module)
        except (ImportError, OSError) as error:
            raise Dvs2sError(f"torchtext {version} cannot be imported ({error}): {_MEND}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back torchtext's progress bar and log, and its switching off of certificate checks."""
    logger = logging.getLogger("torchtext.vocab")
    level, context, stderr = logger.level, ssl._create_default_https_context, sys.stderr
    logger.setLevel(logging.ERROR)
    with open(os.devnull, "w") as sink, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.stderr = sink
        try:
            yield
        finally:
            sys.stderr = stderr
            logger.setLevel(level)
            ssl._create_default_https_context = context


def _check_vector_file(path: Path) -> int:
    """Returns the width of the vectors, after a look at every line."""
    width = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                entries = line.rstrip().split(b" ")[1:]
                if number == 1 and len(entries) == 1:
                    continue  # the "count width" header of word2vec and fastText
                width = width or len(entries)
                _check_row(path, number, entries, width)
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot read the vectors: {error}") from None
    if width == 0:
        raise DataError(f"{path}: no vectors in the file")
    return width


def _check_row(path: Path, number: int, entries: list[bytes], width: int) -> None:
    if len(entries) != width or width < 3:
        raise DataError(
            f"{path}:{number}: {len(entries)} numbers after the word, expected "
            f"{width if width >= 3 else 'at least 3'}: "
            "is there a space inside the word? Remove the row or join the word with '_'"
        )
    try:
        finite = all(np.isfinite(np.array(entries, dtype=np.float64)))
    except ValueError:
        finite = False
    if not finite:
        raise DataError(f"{path}:{number}: not a row of finite numbers: remove the row")


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")
