"""Unicode clean-up that every tokeniser does first."""

import re
import unicodedata

# White space is left in: it is folded afterwards, so that "a\tb" stays two words.
_UNWANTED = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # controls that are no white space
    "\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"  # zero width and bidi controls
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_QUOTES = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201a": "'",
        "\u201b": "'",
        "\u02bc": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u201e": '"',
        "\u201f": '"',
    }
)


def normalise(text: str) -> str:
    """Returns the text in NFC, with straight quotes, no control characters and single spaces.

    Lone surrogates become U+FFFD, so that the result can always be encoded as UTF-8. Zero-width
    joiners stay (emoji and several scripts need them); bidi overrides go. Applying it twice
    changes nothing more.

    Args:
        text: any str, of any length.
    """
    if not text.isascii():
        text = _SURROGATE.sub("\ufffd", text).translate(_QUOTES)
        text = unicodedata.normalize("NFC", text)
    if not text.isprintable():
        text = _UNWANTED.sub("", text)
        # Removing a character can bring a letter and its accent together.
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.split())
