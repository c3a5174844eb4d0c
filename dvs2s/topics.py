"""The topics of a corpus: LDA's counts of words by topic, kept beside the prepared data."""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from tqdm import tqdm

from dvs2s.data.corpus import PairCorpus, PreparedData
from dvs2s.errors import ConfigError, Dvs2sError

logger = logging.getLogger("dvs2s")
_FORMAT = 1
_CHUNK = 2000  # pairs between two updates of the topics
_Bag = list[tuple[int, int]]


@dataclass(frozen=True)
class TopicOptions:
    """How topics are found.

    Args:
        num_topics: Z, at least 1.
        common: so many of the most frequent content words belong to no topic; at least 0.
        passes: over the pairs, at least 1.
        max_pairs: training pairs that are read, spread evenly; 0 for all.
    """

    num_topics: int
    common: int = 200
    passes: int = 3
    max_pairs: int = 200_000

    def __post_init__(self) -> None:
        for name, low in (("num_topics", 1), ("common", 0), ("passes", 1), ("max_pairs", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")


def topic_counts(
    data: PreparedData, options: TopicOptions, *, progress: bool = False
) -> NDArray[np.float32]:
    """Returns how often each word was said for each topic, (V, Z), smoothed; 0 for words left out.

    A pair, message and response together, is a document: topics then join what is asked to what is
    answered. One thread and a fixed seed. The counts are kept in the folder of the prepared data
    and read from there the next time.

    Args:
        data: its training split is read.
        options: how.
        progress: whether a bar is shown.

    Raises:
        ConfigError: no content word is left.
        Dvs2sError: gensim is missing.

    Source: Blei et al. 2003, LDA by gensim, where Xing et al. 2017 use Twitter-LDA.
    """
    if options.common >= data.vocabulary.num_content:
        raise ConfigError(
            f"objective.topic_common must be below the vocabulary's {data.vocabulary.num_content} "
            f"content words, got {options.common}"
        )
    path = data.folder / f"topics-{_key(data, options)}.safetensors"
    shape = len(data.vocabulary), options.num_topics
    kept = _read(path, shape)
    if kept is not None:
        return kept
    counts = _train(data, options, progress)
    _keep(path, counts)
    return counts


def check_gensim() -> None:
    """Checks that topics can be found here.

    Raises:
        Dvs2sError: gensim is missing.
    """
    try:
        import gensim  # noqa: F401
    except ImportError as error:
        raise Dvs2sError(
            f"the topics of objective=ta_s2s need gensim ({error}): pip install 'dvs2s[bench]'"
        ) from error


def _train(data: PreparedData, options: TopicOptions, progress: bool) -> NDArray[np.float32]:
    check_gensim()
    from gensim.models import LdaModel
    from gensim.utils import FakeDict

    first, corpus = data.vocabulary.num_fixed + options.common, data.split("train")
    places = _places(len(corpus), options.max_pairs)
    logger.info("finding %d topics in %s pairs", options.num_topics, f"{len(places):,}")
    terms = len(data.vocabulary) - first
    bar = tqdm(
        desc="topics",
        total=options.passes * len(places),
        unit=" pairs",
        file=sys.stderr,
        disable=None if progress else True,
    )
    with _quiet(), bar:
        model = LdaModel(
            id2word=FakeDict(terms),
            num_topics=options.num_topics,
            chunksize=_CHUNK,
            eval_every=None,
            random_state=0,
        )
        for _ in range(options.passes):
            for start in range(0, len(places), _CHUNK):
                some = places[start : start + _CHUNK]
                model.update([_bag(corpus, int(place), first) for place in some])
                bar.update(len(some))
    counts = np.zeros((len(data.vocabulary), options.num_topics), dtype=np.float32)
    counts[first:] = model.state.get_lambda().T
    return counts


def _places(pairs: int, most: int) -> NDArray[np.int64]:
    """Returns the numbers of the pairs that are read, spread evenly."""
    number = min(most or pairs, pairs)
    return np.arange(number, dtype=np.int64) * pairs // number


def _bag(corpus: PairCorpus, place: int, first: int) -> _Bag:
    """Returns number and occurrences of the pair's words from ``first`` on."""
    words = np.concatenate([corpus.message(place), corpus.response(place)])
    found, times = np.unique(words[words >= first] - first, return_counts=True)
    return list(zip(found.tolist(), times.tolist(), strict=True))


def _key(data: PreparedData, options: TopicOptions) -> str:
    parts: list[Any] = [_FORMAT, data.fingerprint, asdict(options)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    if not path.exists():
        return None
    try:
        counts: NDArray[np.float32] = load_file(path)["counts"]
        if counts.shape != shape or counts.dtype != np.float32:
            raise ValueError(f"{counts.dtype} of shape {counts.shape}")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        logger.warning("%s is damaged (%s): the topics are found anew", path, error)
        return None
    return counts


def _keep(path: Path, counts: NDArray[np.float32]) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(save({"counts": counts}))
        os.replace(partial, path)
    except OSError as error:
        logger.warning("cannot keep the topics in %s: %s", path, error.strerror)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps gensim from telling about every chunk."""
    chatter = logging.getLogger("gensim")
    level = chatter.level
    chatter.setLevel(logging.ERROR)
    try:
        yield
    finally:
        chatter.setLevel(level)
