"""Tokenisers by name: text to a list of words and back."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol

from dvs2s.text.chinese import jieba_cut
from dvs2s.text.english import detokenise_english
from dvs2s.text.normalise import normalise
from dvs2s.text.torchtext_adapter import basic_english


class Tokenizer(Protocol):
    """Turns text into tokens and back; no token is empty or holds white space."""

    @property
    def name(self) -> str:
        """The name under which `get_tokenizer` finds it."""

    def tokenize(self, text: str) -> list[str]:
        """Returns the tokens of any text; an empty list for nothing but space and controls."""

    def detokenize(self, tokens: Sequence[str]) -> str:
        """Returns a text for people from tokens of the same tokeniser."""


TOKENIZER_NAMES = ("basic_english", "whitespace", "char", "jieba")


@cache
def get_tokenizer(name: str) -> Tokenizer:
    """Returns the tokeniser of this name.

    Args:
        name: `basic_english` (torchtext's: lower case, punctuation apart), `whitespace` (for text
            that is cut into words already; keeps case), `char` (each character a token, but runs of
            Latin letters and digits stay together), `jieba` (Chinese words; needs dvs2s[zh]).

    Raises:
        ValueError: no tokeniser has this name.
        Dvs2sError: the package behind it is missing.
    """
    match name:
        case "basic_english":
            return BasicEnglish()
        case "whitespace":
            return Whitespace()
        case "char":
            return Characters()
        case "jieba":
            return Jieba()
    raise ValueError(f"tokenizer must be one of {', '.join(TOKENIZER_NAMES)}, got {name!r}")


class BasicEnglish:
    """Lower-case English words and punctuation marks; drops double quotes, semicolon and colon."""

    name = "basic_english"

    def __init__(self) -> None:
        self._split: Callable[[str], list[str]] = basic_english()

    def tokenize(self, text: str) -> list[str]:
        """Returns lower-case tokens: "I'm fine." -> ["i", "'", "m", "fine", "."]."""
        # Lower case first: it can leave a letter and an accent that NFC puts together. So can the
        # double quotes between them, which the function drops.
        clean = normalise(text.lower())
        if not clean.isascii():
            clean = normalise(clean.replace('"', ""))
        return self._split(clean)

    def detokenize(self, tokens: Sequence[str]) -> str:
        """Returns a sentence with contractions rejoined and capitals restored."""
        return detokenise_english(tokens)


class Whitespace:
    """Words between white space, unchanged."""

    name = "whitespace"

    def tokenize(self, text: str) -> list[str]:
        """Returns the words between white space."""
        return normalise(text).split()

    def detokenize(self, tokens: Sequence[str]) -> str:
        """Returns the tokens with single spaces between them."""
        return " ".join(tokens)


class Characters:
    """One token a character; runs of Latin letters and digits are one token; case is kept."""

    name = "char"
    _pattern = re.compile(r"[A-Za-z0-9]+|\S")

    def tokenize(self, text: str) -> list[str]:
        """Returns the characters and Latin runs."""
        return self._pattern.findall(normalise(text))

    def detokenize(self, tokens: Sequence[str]) -> str:
        """Returns the tokens with spaces only between Latin runs."""
        return _join_unspaced(tokens)


class Jieba:
    """Chinese words as jieba 0.42.1 cuts them; case is kept."""

    name = "jieba"

    def __init__(self) -> None:
        self._cut = jieba_cut()

    def tokenize(self, text: str) -> list[str]:
        """Returns the words that jieba finds between white space."""
        return [word for piece in normalise(text).split() for word in self._cut(piece)]

    def detokenize(self, tokens: Sequence[str]) -> str:
        """Returns the tokens with spaces only between Latin words."""
        return _join_unspaced(tokens)


def _join_unspaced(tokens: Sequence[str]) -> str:
    pieces: list[str] = []
    for token in tokens:
        if pieces and _needs_space(pieces[-1][-1:], token[:1]):
            pieces.append(" ")
        pieces.append(token)
    return "".join(pieces)


def _needs_space(left: str, right: str) -> bool:
    if left.isascii() and right.isascii():
        return left.isalnum() and right.isalnum()
    # An accent or a jamo would melt into the character before it.
    return bool(unicodedata.combining(right)) or not unicodedata.is_normalized("NFC", left + right)
