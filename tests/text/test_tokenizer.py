"""Tokenisers: text to tokens and back, for any text."""

import importlib.util

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dvs2s.errors import Dvs2sError
from dvs2s.text.normalise import normalise
from dvs2s.text.specials import SPECIALS, UNK
from dvs2s.text.tokenizer import TOKENIZER_NAMES, get_tokenizer
from dvs2s.text.vocabulary import Vocabulary

# Hypothesis leaves surrogates out of text() unless they are asked for.
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
ENGLISH = st.lists(
    st.sampled_from(
        "I [ 50 % don't it's 'quote' a.m. U.S. 3.5 1,000 ( ) ? ! ... . o'clock - \" e\u0301".split()
    )
).map(" ".join)


@given(ANY_TEXT)
def test_normalised_text_is_clean_and_stays_the_same(text: str) -> None:
    clean = normalise(text)
    clean.encode("utf-8")
    assert normalise(clean) == clean
    assert "  " not in clean and clean == clean.strip()
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in clean)


def test_normalise_table() -> None:
    table = {
        "don\u2019t \u201cgo\u201d": 'don\'t "go"',
        "a\tb\r\n c\u00a0d": "a b c d",
        "e\u0301": "\u00e9",
        "a\x00b\x1b[31m": "ab[31m",
        "x\ud800y": "x\ufffdy",
        "\ufeffhi\u202e": "hi",
        'e"\u0301': 'e"\u0301',
        "\U0001f469\u200d\U0001f680": "\U0001f469\u200d\U0001f680",
    }
    for text, expected in table.items():
        assert normalise(text) == expected


@pytest.mark.parametrize("name", ["basic_english", "whitespace", "char"])
@given(text=st.one_of(ANY_TEXT, ENGLISH))
def test_tokens_survive_being_made_text_and_tokenised_again(name: str, text: str) -> None:
    tokenizer = get_tokenizer(name)
    tokens = tokenizer.tokenize(text)
    assume("<br" not in tokens)  # made from '<br " />': the line break tag itself is no token
    assert all(token and token.split() == [token] for token in tokens)
    assert tokenizer.tokenize(tokenizer.detokenize(tokens)) == tokens


@given(st.one_of(ANY_TEXT, ENGLISH))
def test_text_to_ids_to_text_keeps_known_words(text: str) -> None:
    tokenizer = get_tokenizer("basic_english")
    tokens = tokenizer.tokenize(text)
    vocabulary = Vocabulary.build(
        {**dict.fromkeys(tokens, 1), "word": 1},
        size=1000,
        min_count=1,
        function_rule="english",
        tokenizer="basic_english",
    )
    ids = vocabulary.encode(tokens)
    expected = ["<unk>" if token in SPECIALS else token for token in tokens]
    assert vocabulary.decode(ids) == expected
    assert all(i == UNK or i >= len(SPECIALS) for i in ids)


@pytest.mark.parametrize(
    ("text", "tokens", "shown"),
    [
        ("I'm fine.", "i ' m fine .", "I'm fine."),
        ("don't you?  i do", "don ' t you ? i do", "Don't you? I do"),
        ("It\u2019s 3.5 miles", "it ' s 3 . 5 miles", "It's 3.5 miles"),
        ("1,000 people, 20 dogs", "1 , 000 people , 20 dogs", "1,000 people, 20 dogs"),
        ("he said 'hello' (twice)", "he said ' hello ' ( twice )", "He said 'hello' (twice)"),
        ("well... ok. bye", "well . . . ok . bye", "Well... ok. Bye"),
        ("at 5 a.m. sharp", "at 5 a . m . sharp", "At 5 a.m. sharp"),
        ("don't cut the boys' room", "don ' t cut the boys ' room", "Don't cut the boys' room"),
        ("so do i. a cat!", "so do i . a cat !", "So do I. A cat!"),
        ("five o'clock, ma'am", "five o ' clock , ma ' am", "Five o'clock, ma'am"),
    ],
)
def test_basic_english_table(text: str, tokens: str, shown: str) -> None:
    tokenizer = get_tokenizer("basic_english")
    assert tokenizer.tokenize(text) == tokens.split()
    assert tokenizer.detokenize(tokens.split()) == shown


@pytest.mark.parametrize("name", ["basic_english", "whitespace", "char"])
def test_nothing_gives_no_tokens(name: str) -> None:
    tokenizer = get_tokenizer(name)
    assert tokenizer.name == name
    for text in ("", "   ", "\x00\x01", "\ufeff", "\n\t"):
        assert tokenizer.tokenize(text) == []
    assert tokenizer.detokenize([]) == ""


def test_char_keeps_latin_words_whole() -> None:
    tokenizer = get_tokenizer("char")
    assert tokenizer.tokenize("我用 OK Google 3次!") == "我 用 OK Google 3 次 !".split()
    assert tokenizer.detokenize("我 用 OK Google 3 次 !".split()) == "我用OK Google 3次!"


@pytest.mark.skipif(importlib.util.find_spec("jieba") is None, reason="jieba is not installed")
def test_jieba_cuts_words_and_joins_them() -> None:
    tokenizer = get_tokenizer("jieba")
    tokens = tokenizer.tokenize("我们今天去北京天安门, hello world！")
    assert tokens == "我们 今天 去 北京 天安门 , hello world ！".split()
    assert tokenizer.detokenize(tokens) == "我们今天去北京天安门,hello world！"


def test_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="basic_english, whitespace, char, jieba, got 'spacy'"):
        get_tokenizer("spacy")
    assert "jieba" in TOKENIZER_NAMES


def test_missing_jieba_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from dvs2s.text import chinese

    chinese.jieba_cut.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "jieba", None)
    with pytest.raises(Dvs2sError, match="pip install jieba"):
        chinese.jieba_cut()
