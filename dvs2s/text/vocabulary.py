"""The full vocabulary: which word has which id, and which words are in every dynamic one."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from dvs2s.errors import VocabularyError
from dvs2s.text.function_words import split
from dvs2s.text.specials import SPECIALS, UNK
from dvs2s.text.torchtext_adapter import build_words

_FORMAT = 1
_T = TypeVar("_T")


@dataclass(frozen=True)
class Vocabulary:
    """Words by id: the specials, then the function words, then the content words.

    Both groups are in order of falling frequency. A word is fixed, that is in the dynamic
    vocabulary of every message, iff its id is below `num_fixed`.

    Args:
        words: all V words, SPECIALS first, none twice.
        counts: (V,) occurrences in the corpus; 0 for the specials.
        num_fixed: specials and function words, 5 to V.
        tokenizer: name of the tokeniser that made the words.
        total_tokens: tokens of the corpus, known or not.

    Raises:
        ValueError: the parts do not fit one another.
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]
    num_fixed: int
    tokenizer: str
    total_tokens: int

    def __post_init__(self) -> None:
        if self.words[: len(SPECIALS)] != SPECIALS:
            raise ValueError(f"words must start with {SPECIALS}, got {self.words[:5]}")
        if len(set(self.words)) != len(self.words):
            twice = next(w for w, n in Counter(self.words).items() if n > 1)
            raise ValueError(f"words must not hold a word twice, got {twice!r} twice")
        if len(self.counts) != len(self.words):
            raise ValueError(f"counts must have {len(self.words)} entries, got {len(self.counts)}")
        if min(self.counts) < 0 or sum(self.counts) > self.total_tokens:
            raise ValueError(
                f"counts must be 0 or more and add up to at most total_tokens={self.total_tokens}, "
                f"got a minimum of {min(self.counts)} and a sum of {sum(self.counts)}"
            )
        if not len(SPECIALS) <= self.num_fixed <= len(self.words):
            raise ValueError(
                f"num_fixed must be {len(SPECIALS)} to {len(self.words)}, got {self.num_fixed}"
            )

    @classmethod
    def build(
        cls,
        counter: Mapping[str, int],
        *,
        size: int,
        min_count: int,
        function_rule: str,
        tokenizer: str,
        total_tokens: int | None = None,
    ) -> "Vocabulary":
        """Returns the vocabulary of a counted corpus.

        Args:
            counter: how often each token occurs.
            size: keep at most this many words, not counting the five specials; at least 1.
            min_count: keep only words that occur at least this often; at least 1.
            function_rule: see `function_words.split`; applies to the kept words only.
            tokenizer: name of the tokeniser that made the tokens.
            total_tokens: tokens of the corpus; the counter's sum where not given.

        Raises:
            ValueError: an argument is out of range, or no word is frequent enough.
        """
        total = sum(counter.values()) if total_tokens is None else total_tokens
        kept = build_words(counter, size, min_count, specials=SPECIALS)
        if not kept:
            raise ValueError(
                f"min_count={min_count} leaves no word: the most frequent of {len(counter)} occurs "
                f"{max(counter.values(), default=0)} times; lower it"
            )
        fixed = split(kept, function_rule)
        ordered = [w for w in kept if w[0] in fixed] + [w for w in kept if w[0] not in fixed]
        return cls(
            words=SPECIALS + tuple(word for word, _ in ordered),
            counts=(0,) * len(SPECIALS) + tuple(count for _, count in ordered),
            num_fixed=len(SPECIALS) + len(fixed),
            tokenizer=tokenizer,
            total_tokens=total,
        )

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each word that text may contain; the specials are left out on purpose.

        So a "</s>" that somebody types is an unknown word and never a control id. Do not change it.
        """
        return {word: i for i, word in enumerate(self.words) if i >= len(SPECIALS)}

    @property
    def num_content(self) -> int:
        """Number of content words, which a dynamic vocabulary may leave out."""
        return len(self.words) - self.num_fixed

    @property
    def coverage(self) -> float:
        """Share of the corpus's tokens that are in the vocabulary, 0 to 1; 1 for no tokens."""
        return sum(self.counts) / self.total_tokens if self.total_tokens else 1.0

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over words, num_fixed and tokenizer: equal iff the ids mean the same."""
        content = json.dumps([self.words, self.num_fixed, self.tokenizer])
        return hashlib.sha256(content.encode("ascii")).hexdigest()

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Returns the ids of tokens of text, UNK for unknown ones and for names of specials."""
        get = self.ids.get
        return [get(token, UNK) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Returns the words of the ids, specials included.

        Raises:
            ValueError: an id is not below len(self).
        """
        return [self.word(i) for i in ids]

    def word(self, id: int) -> str:
        """Returns the word of an id.

        Raises:
            ValueError: the id is not in 0..len(self)-1.
        """
        if not 0 <= id < len(self.words):
            raise ValueError(f"id must be 0 to {len(self.words) - 1}, got {id}")
        return self.words[id]

    def id(self, word: str) -> int:
        """Returns the id of a word of text: UNK where unknown, as `encode` does."""
        return self.ids.get(word, UNK)

    def to_json(self) -> str:
        """Returns the text that `save` writes; equal vocabularies give equal text."""
        return json.dumps(
            {
                "format": _FORMAT,
                "tokenizer": self.tokenizer,
                "num_fixed": self.num_fixed,
                "total_tokens": self.total_tokens,
                "fingerprint": self.fingerprint,
                "words": self.words,
                "counts": self.counts,
            }
        )

    def save(self, path: Path) -> None:
        """Writes the vocabulary as JSON; a crash leaves the old file or the new, never half."""
        temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
        try:
            with temporary.open("w", encoding="ascii") as file:
                file.write(self.to_json())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Returns the vocabulary that `save` wrote.

        Raises:
            VocabularyError: the file is missing, torn, no vocabulary, or inconsistent.
        """
        try:
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise VocabularyError(f"{path}: cannot read it: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise VocabularyError(f"{path}: damaged, not JSON ({error}): prepare again") from None
        try:
            return cls._from_content(content)
        except (ValueError, TypeError, KeyError) as error:
            raise VocabularyError(f"{path}: no valid vocabulary ({error!r})") from None

    @classmethod
    def _from_content(cls, content: Any) -> "Vocabulary":
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"expected an object with format {_FORMAT}")
        vocabulary = cls(
            words=_typed(content["words"], str, "words"),
            counts=_typed(content["counts"], int, "counts"),
            num_fixed=_typed([content["num_fixed"]], int, "num_fixed")[0],
            tokenizer=_typed([content["tokenizer"]], str, "tokenizer")[0],
            total_tokens=_typed([content["total_tokens"]], int, "total_tokens")[0],
        )
        if vocabulary.fingerprint != content["fingerprint"]:
            raise ValueError("the fingerprint does not fit the words: the file was changed")
        return vocabulary


def _typed(values: Any, kind: type[_T], name: str) -> tuple[_T, ...]:
    if not isinstance(values, list) or not all(type(v) is kind for v in values):
        raise ValueError(f"{name} must hold {kind.__name__} only")
    return tuple(values)
