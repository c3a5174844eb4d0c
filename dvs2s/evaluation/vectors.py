"""Word vectors for the embedding metrics: from a local file, or trained on a corpus."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from dvs2s.errors import Dvs2sError
from dvs2s.evaluation.embeddings import WordVectors
from dvs2s.text.torchtext_adapter import load_vectors


def read_vectors(path: Path, words: Sequence[str]) -> WordVectors:
    """Returns the vectors that a text file has for ``words``.

    Args:
        path: lines of ``word number number ...``, plain or .gz.
        words: those that replies and references may hold.

    Raises:
        DataError: the file is missing or damaged; file and line are named.
        Dvs2sError: it has no vector for any of the words.
    """
    matrix, found = load_vectors(path, words)
    if not found.any():
        raise Dvs2sError(
            f"{path} has a vector for none of the {len(words)} words: is it of another language, "
            f"or cut into other words?"
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    known = f"{int(found.sum())} of {len(words)} words"
    return WordVectors(words, matrix, f"{path.name}|width:{matrix.shape[1]}|{known}|{digest[:16]}")


def check_gensim() -> None:
    """Checks that word vectors can be trained here.

    Raises:
        Dvs2sError: gensim is missing.
    """
    try:
        import gensim  # noqa: F401
    except ImportError as error:
        raise Dvs2sError(
            f"training word vectors needs gensim ({error}): pip install 'dvs2s[bench]', or name "
            f"a file of word vectors"
        ) from error


def train_vectors(
    sentences: Iterable[Sequence[str]],
    path: Path,
    *,
    width: int = 100,
    epochs: int = 5,
    min_count: int = 2,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Trains skip-gram vectors on sentences, writes them as a text file, and returns whether.

    One thread and a fixed seed, so that the same sentences give the same file.

    Args:
        sentences: can be gone through several times.
        path: takes its name when the file is complete.
        width: E, at least 1.
        epochs: at least 1.
        min_count: rarer words get no vector; at least 1.
        stop: asked at every sentence; once it says so nothing is written.

    Raises:
        ValueError: a number out of range.
        Dvs2sError: gensim is missing, or no word is frequent enough.

    Source: Mikolov et al. 2013, skip-gram with negative sampling.
    """
    for name, value in (("width", width), ("epochs", epochs), ("min_count", min_count)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}: pass 1 or more")
    check_gensim()
    from gensim.models import Word2Vec

    chatter = logging.getLogger("gensim")
    level = chatter.level
    chatter.setLevel(logging.WARNING)
    try:
        model = Word2Vec(
            vector_size=width, sg=1, window=5, negative=5, min_count=min_count, workers=1, seed=1
        )
        heard = _Until(sentences, stop)
        model.build_vocab(heard)
        if stop():
            return False
        if not len(model.wv):
            raise Dvs2sError(f"no word occurs {min_count} times: nothing to train vectors on")
        model.train(heard, total_examples=model.corpus_count, epochs=epochs)
    finally:
        chatter.setLevel(level)
    if stop():
        return False
    partial = path.with_name(f"{path.name}.part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        for word in model.wv.index_to_key:
            numbers = " ".join(f"{number:.6g}" for number in model.wv[word])
            file.write(f"{word} {numbers}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    return True


class _Until:
    """Sentences up to the wish to stop; an exception would leave gensim's threads waiting."""

    def __init__(self, sentences: Iterable[Sequence[str]], stop: Callable[[], bool]) -> None:
        self._sentences, self._stop = sentences, stop

    def __iter__(self) -> Iterator[Sequence[str]]:
        for sentence in self._sentences:
            if self._stop():
                return
            yield sentence
