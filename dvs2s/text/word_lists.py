"""Words that a caller lists, as ids of a vocabulary: what is let in or kept out of replies."""

from collections.abc import Iterable

from dvs2s.text.specials import SPECIALS
from dvs2s.text.tokenizer import get_tokenizer
from dvs2s.text.vocabulary import Vocabulary

_ENDING = "*"


class WordLists:
    """Finds listed words in a vocabulary.

    A text stands for each of its tokens, and a token for every word of the vocabulary that differs
    from it in upper and lower case at most. ``walk*`` stands for all words that begin so. Inflected
    forms are other words: list them, or use the star. Words that the vocabulary does not know can
    be neither said nor let in, and special words are not listed: both are left out.

    Args:
        vocabulary: of the model.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._tokenizer = get_tokenizer(vocabulary.tokenizer)
        self._folded: dict[str, list[int]] = {}
        for i in range(len(SPECIALS), len(vocabulary)):
            self._folded.setdefault(vocabulary.word(i).casefold(), []).append(i)

    def ids(self, texts: Iterable[str]) -> list[int]:
        """Returns the ids of all words that the texts stand for, rising.

        Raises:
            ValueError: one text in place of a list, or a star behind more than one word.
        """
        if isinstance(texts, str):
            raise ValueError(f"words must be a list of words, got the text {texts!r}: pass [text]")
        found: set[int] = set()
        for text in texts:
            begin = text.strip().casefold().removesuffix(_ENDING)
            if begin and text.strip().endswith(_ENDING):
                found.update(self._beginning(begin))
            else:
                for token in self._tokenizer.tokenize(text):
                    found.update(self._folded.get(token.casefold(), ()))
        return sorted(found)

    def _beginning(self, begin: str) -> Iterable[int]:
        if len(begin.split()) > 1:
            raise ValueError(f"a word with {_ENDING} must be one word, got {begin + _ENDING!r}")
        return [i for word, ids in self._folded.items() if word.startswith(begin) for i in ids]
