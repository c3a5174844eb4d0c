"""What a table's rows are measured with: references, word vectors, counts of the training split."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dvs2s.cli.table_options import TableConfig
from dvs2s.data.corpus import PairCorpus, PreparedData
from dvs2s.errors import ConfigError
from dvs2s.evaluation.vectors import read_vectors, train_vectors
from dvs2s.table.decode import Stopped, Task
from dvs2s.table.measure import Yardstick
from dvs2s.text.specials import SPECIALS
from dvs2s.training.signals import StopSignal

logger = logging.getLogger("dvs2s")


def yardstick(config: TableConfig, data: PreparedData, stop: StopSignal) -> Yardstick:
    """Returns what the rows are measured with; trains word vectors where none are given.

    Raises:
        Stopped: a signal came while vectors were trained.
    """
    words, train = data.vocabulary.words, data.split("train")
    path = vectors_path(config, data)
    if not config.table.vectors and not path.exists():
        logger.info("training word vectors on the training pairs, for the embedding metrics")
        if not train_vectors(_Sentences(train, words), path, stop=lambda: stop.requested):
            raise Stopped
    counts: Counter[str] = Counter()
    for i in range(len(train)):
        counts.update(words[id] for id in train.response(i))
    for special in SPECIALS:
        counts.pop(special, None)
    return Yardstick(
        references=Task(data, config.table.split, config.table.limit, 1).references(),
        vectors=read_vectors(path, words[len(SPECIALS) :]),
        counts=counts,
        training_responses=frozenset(
            tuple(words[id] for id in train.response(i)) for i in range(len(train))
        ),
    )


def vectors_path(config: TableConfig, data: PreparedData) -> Path:
    """Returns the file of word vectors: the one given, or the table's own for these data."""
    own = Path(config.table.work) / f"trained-{data.fingerprint[:12]}.vec"
    return Path(config.table.vectors) if config.table.vectors else own


class _Sentences:
    """Both sides of all training pairs, as words; can be gone through again."""

    def __init__(self, corpus: PairCorpus, words: tuple[str, ...]) -> None:
        self._corpus, self._words = corpus, words

    def __iter__(self) -> Iterator[list[str]]:
        for i in range(len(self._corpus)):
            for side in (self._corpus.message(i), self._corpus.response(i)):
                yield [self._words[id] for id in side if id >= len(SPECIALS)]


def file_digest(name: str) -> str:
    """Returns the SHA-256 of a file, empty for no file.

    Raises:
        ConfigError: it cannot be read.
    """
    if not name:
        return ""
    try:
        with open(name, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"cannot read table.vectors={name}: {error.strerror}") from error
