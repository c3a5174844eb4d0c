"""Forbidden words are never generated and allowed ones always admitted, whatever the rest."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_backends import WORDS, responder

from dvs2s.backends import EngineChoice
from dvs2s.engine.engine import why_unavailable

ENGINES = ["plain"] + ([] if why_unavailable() else ["compiled"])
KINDS = [
    {"kind": "greedy", "num_best": 1},
    {"kind": "beam", "beam": 5, "num_best": 5},
    {"kind": "beam", "beam": 3, "num_best": 2, "block_ngram": 2, "length_penalty": 1.0},
    {"kind": "diverse_beam", "beam": 6, "groups": 3, "num_best": 6, "diversity": 2.0},
    {"kind": "sampling", "num_best": 4, "temperature": 3.0},
    {"kind": "sampling", "num_best": 2, "top_k": 9, "top_p": 0.9, "min_length": 4},
]
VOCABULARIES = [
    {"vocabulary": "size", "size": 20},
    {"vocabulary": "size", "size": 70, "alpha": 0.5},
    {"vocabulary": "threshold", "threshold": 0.6},
    {"vocabulary": "full"},
]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(ENGINES),
    st.integers(0, 5),
    st.sampled_from(KINDS),
    st.sampled_from(VOCABULARIES),
    st.booleans(),
    st.sets(st.sampled_from(WORDS), max_size=8),
    st.sets(st.sampled_from(WORDS), max_size=len(WORDS)),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=5),
)
def test_limits_hold_for_every_model_and_search(
    engine: EngineChoice,
    seed: int,
    kind: dict[str, object],
    vocabulary: dict[str, object],
    message_words: bool,
    allow: set[str],
    forbid: set[str],
    message: list[str],
) -> None:
    bot = responder(engine, seed=seed)
    given_words = {"allow": [w.upper() for w in allow], "forbid": [w.title() for w in forbid]}
    config = bot.search_config(**kind, **vocabulary, message_words=message_words, max_length=8)
    answer = bot.answers([" ".join(message)], config, **given_words)[0]
    said = {word for reply in answer.replies for word in reply.tokens}
    assert not said & forbid
    admitted = {word.word for word in answer.vocabulary}
    assert allow <= admitted and said <= admitted
    if message_words:
        assert set(message) <= admitted


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind["kind"]))
def test_a_reply_without_words_is_left_when_all_are_forbidden(
    engine: EngineChoice, kind: dict[str, object]
) -> None:
    answer = responder(engine).reply("ba den fis", forbid=WORDS, **kind)
    assert answer.replies and all(reply.tokens == () for reply in answer.replies)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_would_be_said_is_not_said_when_forbidden(engine: EngineChoice) -> None:
    """The law above could hold of a model that never says those words: this one would."""
    bot = responder(engine)
    forbidden: set[str] = set()
    for _ in range(6):
        said = set(
            bot.reply("go lun", forbid=sorted(forbidden), kind="greedy", num_best=1)
            .replies[0]
            .tokens
        )
        assert said and not said & forbidden
        forbidden |= said
