"""The rules that choose function words."""

import importlib.util
from pathlib import Path

import pytest

from dvs2s.errors import DataError
from dvs2s.text.function_words import ENGLISH, split
from dvs2s.text.tokenizer import get_tokenizer


def test_english_list_is_closed_class_and_made_as_the_tokeniser_makes_it() -> None:
    assert 200 <= len(ENGLISH) <= 300
    tokenize = get_tokenizer("basic_english").tokenize
    assert [word for word in ENGLISH if tokenize(word) != [word]] == []
    for text in ("I don't think they'd've said that we're here, isn't it?", "Oh, ok (yes)!"):
        content = set(tokenize(text)) - ENGLISH
        assert content <= {"think", "said"}
    for word in "coffee dog think go say good time people robot".split():
        assert word not in ENGLISH


def test_english_rule_takes_only_given_words() -> None:
    words = [("the", 9), ("coffee", 5), ("The", 2), (".", 1)]
    assert split(words, "english") == {"the", "The", "."}


def test_rank_rule() -> None:
    words = [("coffee", 9), ("the", 5), ("tea", 1)]
    assert split([*words, ("more", 100_000), ("whom", 1)], "english") >= {"more"}
    assert "whom" not in split([("more", 20_001), ("whom", 1)], "english")
    assert "whom" in split([("more", 19_999), ("whom", 1)], "english")
    assert split(words, "rank:2") == {"coffee", "the"}
    assert split(words, "rank:0") == frozenset()
    assert split(words, "rank:99") == {"coffee", "the", "tea"}


def test_list_rule(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufefftea\r\n\r\ncafe\u0301\r\nabsent\r\n".encode())
    assert split([("tea", 2), ("café", 1), ("the", 1)], f"list:{path}") == {"tea", "café"}
    with pytest.raises(DataError, match="nowhere.txt: cannot read the function words"):
        split([("tea", 1)], f"list:{tmp_path / 'nowhere.txt'}")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8"):
        split([("tea", 1)], f"list:{path}")


@pytest.mark.skipif(importlib.util.find_spec("jieba") is None, reason="jieba is not installed")
def test_jieba_tags_rule() -> None:
    words = [(w, 1) for w in "我 的 在 吗 因为 什么 ， 咖啡 北京 知道 医生 分钟 喜欢".split()]
    assert split(words, "jieba_tags") == set("我 的 在 吗 因为 什么 ，".split())


@pytest.mark.parametrize(
    "rule", ["englisch", "rank:", "rank:-1", "rank:x", "list:", "english:3", ""]
)
def test_unknown_rules_are_refused(rule: str) -> None:
    with pytest.raises(ValueError, match="function_words must be one of english, jieba_tags"):
        split([("a", 1)], rule)
