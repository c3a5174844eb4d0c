"""Pieces of a reply: they add up to it, whatever the words."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dvs2s.serving.pieces import Pieces, cut
from dvs2s.text.tokenizer import get_tokenizer

WORDS = st.lists(
    st.sampled_from([*"' . , ? ! ( ) i s t m o 1 23 456 a x clock boys hello ʼ é 你 好".split()]),
    max_size=12,
)


@settings(max_examples=400)
@given(WORDS, st.sampled_from(["basic_english", "char", "whitespace"]))
@example(["the", "boys", "'", "room", "and", "it", "is", "'"], "basic_english")
@example(["5", "o", "'", "clock"], "basic_english")
@example(["3", ".", "5", "a", ".", "m", "."], "basic_english")
def test_pieces_add_up_to_the_text(words: list[str], name: str) -> None:
    detokenize = get_tokenizer(name).detokenize
    pieces, text = Pieces(detokenize), detokenize(words)
    sent = "".join(pieces.push(word) for word in words)
    assert text.startswith(sent)
    assert sent + pieces.finish(text) == text


def test_most_words_are_settled_at_once() -> None:
    pieces = Pieces(get_tokenizer("basic_english").detokenize)
    assert [pieces.push(word) for word in ["hello", "there", "my", "friend"]] == [
        "Hello",
        " there",
        " my",
        " friend",
    ]


@given(WORDS, st.sampled_from(["lo ", "?", "x x", "12"]))
@example(["hello", "'"], "lo ")
def test_nothing_of_a_stop_is_ever_sent(words: list[str], stop: str) -> None:
    detokenize = get_tokenizer("whitespace").detokenize
    pieces, sent = Pieces(detokenize, [stop]), ""
    for word in words:
        sent += pieces.push(word)
        if pieces.has_stopped():
            break
    text, stopped = cut(detokenize(words), [stop])
    assert text.startswith(sent) and stop not in text
    assert stopped == (stop in detokenize(words))
    assert sent + pieces.finish(text) == text


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one two", ["two"], ("one ", True)),
        ("one two", ["o", "one"], ("", True)),
        ("one", ["x"], ("one", False)),
        ("one", [], ("one", False)),
    ],
)
def test_a_text_is_cut_at_the_first_stop(
    text: str, stop: list[str], expected: tuple[str, bool]
) -> None:
    assert cut(text, stop) == expected
