"""First pass: reads a split, tokenises it and spills the tokens to a file."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from dvs2s.data.malformed import MalformedLog
from dvs2s.data.manifest import SplitCounts
from dvs2s.data.options import PrepareOptions
from dvs2s.data.readers import Advance, read_pairs
from dvs2s.data.turns import Pair
from dvs2s.data.workers import map_in_order
from dvs2s.text.tokenizer import get_tokenizer

SEPARATOR = "\x01"
"""Stands between turns in a spill file; no token can be equal to it: normalising removes it."""

_CHUNK_PAIRS = 5000
_CHUNK_CHARACTERS = 1 << 20
# Below this size, starting processes takes longer than tokenising.
_LEAST_BYTES_FOR_WORKERS = 4 << 20
_MOST_COUNTED_WORDS = 3_000_000


class WordCounter:
    """Counts words in bounded memory: when there are too many, the rarest are forgotten.

    Args:
        most: number of different words that may be held; at least 1.
    """

    def __init__(self, most: int = _MOST_COUNTED_WORDS) -> None:
        self.counts: Counter[str] = Counter()
        self.total = 0
        self.pruned = 0
        self._most = most

    def update(self, counts: Counter[str]) -> None:
        """Adds the counts of a chunk."""
        self.counts.update(counts)
        self.total += counts.total()
        least = 1
        while len(self.counts) > self._most:
            least += 1
            kept = Counter({word: n for word, n in self.counts.items() if n >= least})
            self.pruned += len(self.counts) - len(kept)
            self.counts = kept


@dataclass
class Chunk:
    """The tokens of some pairs: spill lines, digests of the pairs, word counts, split counts."""

    lines: bytes
    digests: list[bytes] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)
    counts: SplitCounts = field(default_factory=SplitCounts)


@dataclass(frozen=True)
class TokeniseChunk:
    """Callable that tokenises a chunk of pairs; workers get a copy of it.

    Args:
        options: tokeniser and length limits.
        held_out: digests of pairs to drop.
        is_train: counts words where true, collects digests where not.
    """

    options: PrepareOptions
    held_out: frozenset[bytes]
    is_train: bool

    def __call__(self, pairs: list[Pair]) -> Chunk:
        """Returns the tokenised chunk."""
        tokenize = get_tokenizer(self.options.tokenizer).tokenize
        lines: list[str] = []
        result = Chunk(b"")
        for turns, text in pairs:
            contexts = [tokens for tokens in map(tokenize, turns) if tokens]
            response = tokenize(text)
            if not contexts or not response:
                result.counts.without_tokens_dropped += 1
                continue
            if self._is_dropped(contexts[-1], response, result):
                continue
            line = self._line(contexts, response, result)
            lines.append(line)
        result.lines = "".join(lines).encode("utf-8")
        result.counts.pairs = len(lines)
        if self.is_train:
            result.words.update(result.lines.decode("utf-8").split())
            # The separators are no words of the corpus.
            del result.words[SEPARATOR]
        return result

    def _is_dropped(self, last_turn: list[str], response: list[str], result: Chunk) -> bool:
        if self.is_train and not self.held_out:
            return False
        text = " ".join(last_turn) + "\t" + " ".join(response)
        digest = hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
        if not self.is_train:
            result.digests.append(digest)
        elif digest in self.held_out:
            result.counts.duplicates_dropped += 1
            return True
        return False

    def _line(self, contexts: list[list[str]], response: list[str], result: Chunk) -> str:
        """Returns the spill line of a pair, cut to the limits."""
        options, counts = self.options, result.counts
        message = contexts[0]
        for turn in contexts[1:]:
            message = [*message, SEPARATOR, *turn]
        if len(message) > options.max_message_tokens:
            counts.truncated_messages += 1
            message = message[-options.max_message_tokens :]
            if message[0] == SEPARATOR and len(message) > 1:
                message = message[1:]
        if len(response) > options.max_response_tokens:
            counts.truncated_responses += 1
            response = response[: options.max_response_tokens]
        counts.message_tokens += len(message)
        counts.response_tokens += len(response)
        return " ".join(message) + "\t" + " ".join(response) + "\n"


def tokenise_split(
    files: list[Path],
    split: str,
    spill: Path,
    *,
    function: TokeniseChunk,
    counter: WordCounter,
    advance: Advance,
) -> tuple[SplitCounts, set[bytes]]:
    """Writes a split's tokens to `spill` and returns its counts and (held-out splits) digests.

    A line is the message's tokens, a tab and the response's tokens, all with single spaces.

    Args:
        files: the split's sources.
        split: its name.
        spill: the file to write.
        function: what tokenises.
        counter: gets the words of the training split.
        advance: called with bytes read.

    Raises:
        DataError: a source cannot be used, or too many lines are malformed.
    """
    options, log = function.options, MalformedLog()
    size = sum(path.stat().st_size for path in files if path.is_file())
    workers = options.num_workers if size >= _LEAST_BYTES_FOR_WORKERS else 1
    pairs = _read_all(files, split, options, log, advance)
    totals, digests = SplitCounts(), set[bytes]()
    with spill.open("wb") as file:
        for chunk in map_in_order(function, chunked(pairs), workers=workers):
            _absorb(chunk, totals, digests, counter, file)
    totals.lines_read, totals.blank_lines = log.read, log.blank
    totals.malformed = dict(sorted(log.kinds.items()))
    totals.first_malformed = log.first
    return totals, digests


def chunked(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Yields the pairs in lists of bounded number and size; depends on the pairs alone."""
    chunk: list[Pair] = []
    characters = 0
    for pair in pairs:
        chunk.append(pair)
        characters += sum(map(len, pair[0])) + len(pair[1])
        if len(chunk) == _CHUNK_PAIRS or characters > _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _read_all(
    files: list[Path], split: str, options: PrepareOptions, log: MalformedLog, advance: Advance
) -> Iterator[Pair]:
    for path in files:
        yield from read_pairs(
            path,
            format=options.format,
            split=split,
            context_turns=options.context_turns,
            log=log,
            advance=advance,
            line_limit=options.max_line_bytes,
        )
        log.check(options.max_malformed_share)


def _absorb(
    chunk: Chunk,
    totals: SplitCounts,
    digests: set[bytes],
    counter: WordCounter,
    file: BinaryIO,
) -> None:
    file.write(chunk.lines)
    digests.update(chunk.digests)
    counter.update(chunk.words)
    for name in (
        "pairs",
        "message_tokens",
        "response_tokens",
        "truncated_messages",
        "truncated_responses",
        "duplicates_dropped",
        "without_tokens_dropped",
    ):
        setattr(totals, name, getattr(totals, name) + getattr(chunk.counts, name))
