"""Turns lower-case tokens of the basic_english kind back into an English sentence."""

from collections.abc import Sequence

_SUFFIXES = frozenset("t s m re ll ve d em".split())
_APOSTROPHE_PAIRS = frozenset(
    {("o", "clock"), ("y", "all"), ("ma", "am"), ("c", "mon"), ("g", "day"), ("d", "you")}
)
# Only marks that basic_english cuts off: another one would grow together with its neighbour.
_CLOSERS = frozenset(". , ! ? )".split())
_OPENER = "("
_ENDERS = frozenset(". ! ?".split())


def detokenise_english(tokens: Sequence[str]) -> str:
    """Returns a readable sentence: "i ' m fine ." -> "I'm fine.".

    Only spaces and capitals change, so tokenising the result gives the same tokens again.

    Args:
        tokens: tokens as basic_english makes them.
    """
    pieces: list[str] = []
    quote_open = False
    starts_sentence = True
    glue = True  # True: the next token follows without a space
    for i, token in enumerate(tokens):
        previous = tokens[i - 1] if i else ""
        following = tokens[i + 1] if i + 1 < len(tokens) else ""
        joined = glue or token in _CLOSERS
        glue = token == _OPENER
        if token == "'":
            joined, glue, quote_open = _place_apostrophe(tokens, i, quote_open)
        elif token in {".", ","}:
            glue = _inside_number_or_initials(previous, token, following)
        if not joined:
            pieces.append(" ")
        is_word = any(c.isalnum() for c in token)
        pieces.append(
            _capitalise(token) if (starts_sentence and is_word) or token == "i" else token
        )
        if is_word:
            starts_sentence = False
        elif token in _ENDERS:
            # A decimal point, an ellipsis and the end of "a.m." end no sentence.
            is_initial = i > 1 and len(previous) == 1 and tokens[i - 2] == "."
            is_inner = token == "." and (is_initial or "." in (previous, following))
            starts_sentence = not glue and not is_inner
    return "".join(pieces)


def _place_apostrophe(tokens: Sequence[str], i: int, is_open: bool) -> tuple[bool, bool, bool]:
    """Returns (joined to the left, joined to the right, whether a quotation is open after it)."""
    if _is_contraction(tokens, i):
        return True, True, is_open
    if is_open:
        return True, False, False
    closes_later = any(
        token == "'" and not _is_contraction(tokens, k)
        for k, token in enumerate(tokens[i + 2 :], i + 2)
    )
    if closes_later or i == 0:
        return i == 0, True, closes_later
    return True, False, False  # a lone one: the boys' room, goin'


def _is_contraction(tokens: Sequence[str], i: int) -> bool:
    previous = tokens[i - 1] if i else ""
    following = tokens[i + 1] if i + 1 < len(tokens) else ""
    known = following in _SUFFIXES or (previous, following) in _APOSTROPHE_PAIRS
    return known and previous[-1:].isalnum()


def _inside_number_or_initials(previous: str, mark: str, following: str) -> bool:
    if previous.isdigit() and following.isdigit():
        return mark == "." or len(following) == 3
    initials = previous + following
    if mark != "." or len(previous) != 1 or len(following) != 1 or not initials.isalpha():
        return False
    return "i" not in initials or initials == "ie"  # "so do i. a cat" is no pair of initials


def _capitalise(token: str) -> str:
    first = token[:1].upper()
    # Some letters (the German sharp s, the Turkish dotted i) do not come back from upper case.
    if len(first) != 1 or first.lower() != token[:1]:
        return token
    return first + token[1:]
