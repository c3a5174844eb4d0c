"""Listed words: case, tokens, beginnings, and what is left out."""

import pytest

from dvs2s.text.specials import SPECIALS
from dvs2s.text.vocabulary import Vocabulary
from dvs2s.text.word_lists import WordLists

WORDS = (*SPECIALS, "the", ".", "Paris", "paris", "PARIS", "walk", "walks", "Walking", "wal", "*")


def lists(tokenizer: str) -> WordLists:
    return WordLists(Vocabulary(WORDS, (1,) * len(WORDS), 7, tokenizer, len(WORDS)))


def words(ids: list[int]) -> set[str]:
    return {WORDS[i] for i in ids}


@pytest.mark.parametrize("tokenizer", ["basic_english", "whitespace"])
def test_case_does_not_matter_and_inflections_do(tokenizer: str) -> None:
    found = lists(tokenizer)
    for text in ("paris", "Paris", "pARIs"):
        assert words(found.ids([text])) == {"Paris", "paris", "PARIS"}
    assert words(found.ids(["walk"])) == {"walk"}
    assert words(found.ids(["WALK*"])) == {"walk", "walks", "Walking"}
    assert words(found.ids([" wal* ", "the ."])) == {"walk", "walks", "Walking", "wal", "the", "."}
    assert words(found.ids(["*"])) <= {"*"}  # nothing begins with nothing
    assert found.ids(["zebra", "zeb*", "", " ", "<pad>", "</s>", "<unk>"]) == []
    assert found.ids([]) == []
    assert found.ids(["the", "paris"]) == sorted(found.ids(["paris", "the"]))


def test_what_is_no_list_of_words() -> None:
    with pytest.raises(ValueError, match="words must be a list of words, got the text 'the'"):
        lists("whitespace").ids("the")
    with pytest.raises(ValueError, match=r"must be one word, got 'two words\*'"):
        lists("whitespace").ids(["two words*"])
