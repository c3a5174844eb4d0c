"""Prepares a corpus: text files in, a folder of memory-mapped ids and a vocabulary out."""

import errno
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dvs2s.data.arrays import COUNTS_NAME, COUNTS_TYPE, encode_split, write_synced
from dvs2s.data.corpus import PreparedData
from dvs2s.data.folder import complete_folder
from dvs2s.data.manifest import (
    FORMAT,
    NAME,
    Manifest,
    SourceFile,
    SplitCounts,
    data_fingerprint,
)
from dvs2s.data.options import PrepareOptions
from dvs2s.data.readers import source_files
from dvs2s.data.tokenise import TokeniseChunk, WordCounter, tokenise_split
from dvs2s.errors import DataError, Dvs2sError
from dvs2s.text.tokenizer import get_tokenizer
from dvs2s.text.vocabulary import Vocabulary

logger = logging.getLogger("dvs2s")

VOCABULARY_NAME = "vocabulary.json"
_TRAIN = "train"
_WORDS = "function_words"

Sources = Mapping[str, Sequence[Path]]


def prepare(
    sources: Sources, out: Path, *, options: PrepareOptions, progress: bool = True
) -> Manifest:
    """Reads the sources and leaves the prepared folder at `out`, complete or not at all.

    Two passes in flat memory: tokenise (in worker processes for large files) and count words, then
    encode. The same sources and options give the same bytes with any number of workers.

    Args:
        sources: the files of each split; "train" is needed, other names are free (lower-case
            letters and digits).
        out: the folder to make; one that was prepared before is replaced.
        options: see PrepareOptions.
        progress: shows bars with rate and time left on stderr.

    Returns:
        The manifest that was written.

    Raises:
        ValueError: the splits' names are wrong.
        DataError: a source cannot be used, too many lines are malformed, or a split has no pair.
        Dvs2sError: a package that the tokeniser needs is missing.
    """
    _check_splits(sources)
    files = _source_entries(sources, options)
    get_tokenizer(options.tokenizer)  # says what is missing before the work, loads before the fork
    try:
        with complete_folder(out) as folder:
            manifest = _prepare(sources, folder, files, options, progress)
        _say_left_out(manifest)
        return manifest
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DataError(
                f"{out}: the disk is full: about twice the text's size is needed"
            ) from None
        raise


def _say_left_out(manifest: Manifest) -> None:
    for split, counts in manifest.splits.items():
        if left_out := counts.left_out():
            logger.warning("%s: left out %s", split, left_out)
        for line in counts.first_malformed:
            logger.warning("  %s", line)


def is_current(out: Path, sources: Sources, options: PrepareOptions) -> bool:
    """Returns whether `out` was prepared from these sources with these options and is intact.

    Files of the same size and modification time count as unchanged; others of the same size are
    hashed. A missing source is no: `prepare` then says which one.
    """
    try:
        manifest = PreparedData.open(out).manifest
        files = _files(sources, options)
    except Dvs2sError:
        return False
    if manifest.options != options.content() or set(manifest.sources) != set(files):
        return False
    return all(
        len(entries) == len(files[split])
        and all(e.is_unchanged(path) for e, path in zip(entries, files[split], strict=True))
        for split, entries in manifest.sources.items()
    )


def _prepare(
    sources: Sources,
    folder: Path,
    files: dict[str, list[SourceFile]],
    options: PrepareOptions,
    progress: bool,
) -> Manifest:
    counter = WordCounter()
    counts = _tokenise_all(sources, folder, counter, options, progress)
    vocabulary = _build_vocabulary(counter, options)
    for split in counts:
        responses_with = _encode(folder, split, vocabulary, counts[split], progress)
        if split == _TRAIN:
            content = responses_with.astype(COUNTS_TYPE).tobytes()
            write_synced(folder / COUNTS_NAME, content)
    vocabulary.save(folder / VOCABULARY_NAME)
    manifest = Manifest(
        format=FORMAT,
        options=options.content(),
        sources=files,
        splits=counts,
        vocabulary_size=len(vocabulary),
        vocabulary_fingerprint=vocabulary.fingerprint,
        pruned_words=counter.pruned,
        fingerprint=data_fingerprint(options.content(), files, vocabulary.fingerprint),
    )
    write_synced(folder / NAME, manifest.to_json().encode("ascii"))
    return manifest


def _tokenise_all(
    sources: Sources, folder: Path, counter: WordCounter, options: PrepareOptions, progress: bool
) -> dict[str, SplitCounts]:
    """Returns the counts of each split, in the order of the sources."""
    held_out: set[bytes] = set()
    counts: dict[str, SplitCounts] = {}
    # The training split comes last, when the pairs that it must not hold are known.
    for split in sorted(sources, key=lambda name: name == _TRAIN):
        is_train = split == _TRAIN
        dropped = held_out if is_train and options.drop_train_duplicates else ()
        function = TokeniseChunk(options, frozenset(dropped), is_train)
        paths = list(sources[split])
        size = sum(_size(path, options, split) for path in paths)
        with _bar(f"tokenise {split}", size, "B", progress) as advance:
            counts[split], digests = tokenise_split(
                paths,
                split,
                _spill(folder, split),
                function=function,
                counter=counter,
                advance=advance,
            )
        held_out |= digests
        _check_pairs(split, counts[split])
    return {split: counts[split] for split in sources}


def _build_vocabulary(counter: WordCounter, options: PrepareOptions) -> Vocabulary:
    most = max(counter.counts.values())
    if most < options.min_count:
        raise DataError(
            f"no word occurs min_count={options.min_count} times in the training split (the most "
            f"frequent of {len(counter.counts)} occurs {most} times): lower min_count"
        )
    return Vocabulary.build(
        counter.counts,
        size=options.vocabulary_size,
        min_count=options.min_count,
        function_rule=options.function_words,
        tokenizer=options.tokenizer,
        total_tokens=counter.total,
    )


def _encode(
    folder: Path, split: str, vocabulary: Vocabulary, counts: SplitCounts, progress: bool
) -> NDArray[np.int64]:
    spill = _spill(folder, split)
    with _bar(f"encode {split}", counts.pairs, "pairs", progress) as advance:
        responses_with = encode_split(spill, split, vocabulary, counts, advance=advance)
    spill.unlink()
    return responses_with


def _check_splits(sources: Sources) -> None:
    if not sources.get(_TRAIN):
        raise ValueError(f"sources must name files for {_TRAIN!r}, got {sorted(sources)}")
    for split, paths in sources.items():
        if not re.fullmatch(r"[a-z][a-z0-9]*", split):
            raise ValueError(f"sources: a split's name is lower-case letters, got {split!r}")
        if isinstance(paths, str | Path) or not paths:
            raise ValueError(
                f"sources[{split!r}] must be a list of at least one path, got {paths!r}"
            )


def _check_pairs(split: str, counts: SplitCounts) -> None:
    if counts.pairs:
        return
    malformed = sum(counts.malformed.values())
    raise DataError(
        f"split {split} has no pair left: {counts.lines_read} lines read, {malformed} malformed, "
        f"{counts.blank_lines} blank, {counts.duplicates_dropped} pairs dropped as duplicates of "
        f"another split (data.drop_train_duplicates=false keeps them), "
        f"{counts.without_tokens_dropped} because a side has no token"
    )


def _files(sources: Sources, options: PrepareOptions) -> dict[str, list[Path]]:
    """Returns all files that the result depends on, by split."""
    files = {
        split: [
            file
            for path in paths
            for file in source_files(path, format=options.format, split=split)
        ]
        for split, paths in sources.items()
    }
    kind, _, name = options.function_words.partition(":")
    if kind == "list":
        if not Path(name).is_file():
            raise DataError(f"{name}: no such file with function words")
        files[_WORDS] = [Path(name)]
    return files


def _source_entries(sources: Sources, options: PrepareOptions) -> dict[str, list[SourceFile]]:
    try:
        return {
            split: [SourceFile.of(path) for path in paths]
            for split, paths in _files(sources, options).items()
        }
    except OSError as error:
        raise DataError(f"{error.filename}: cannot read it: {error.strerror}") from None


def _size(path: Path, options: PrepareOptions, split: str) -> int:
    files = source_files(path, format=options.format, split=split)
    return sum(file.stat().st_size for file in files)


def _spill(folder: Path, split: str) -> Path:
    return folder / f"{split}.spill"


@contextmanager
def _bar(name: str, total: int, unit: str, progress: bool) -> Iterator[Callable[[int], None]]:
    """Gives the function that moves a bar on; silent where progress is false."""
    with tqdm(desc=name, total=total, unit=unit, unit_scale=True, disable=not progress) as bar:

        def advance(amount: int) -> None:
            bar.update(amount)

        yield advance
