"""Chinese words as characters: a second unit to count in, which no word cutter has a say in."""

from collections.abc import Iterator, Sequence

# Han ideographs, with their extensions and the compatibility forms.
_HAN = (
    ("\u3400", "\u4dbf"),
    ("\u4e00", "\u9fff"),
    ("\uf900", "\ufaff"),
    ("\U00020000", "\U0003ffff"),
)


def is_mostly_han(texts: Sequence[Sequence[str]]) -> bool:
    """Returns whether more than half of all tokens hold a Han character; False for no tokens."""
    tokens = [token for text in texts for token in text]
    return 2 * sum(any(map(_is_han, token)) for token in tokens) > len(tokens)


def as_characters(tokens: Sequence[str]) -> list[str]:
    """Returns the tokens with every Han character by itself; what stands between stays together."""
    return [piece for token in tokens for piece in _pieces(token)]


def _pieces(token: str) -> Iterator[str]:
    rest = ""
    for character in token:
        if _is_han(character):
            if rest:
                yield rest
                rest = ""
            yield character
        else:
            rest += character
    if rest:
        yield rest


def _is_han(character: str) -> bool:
    return any(low <= character <= high for low, high in _HAN)
