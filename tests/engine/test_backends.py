"""A responder answers alike with and without the engine, and says which of the two it has."""

import logging

import pytest
from engine_toy import make_model

from dvs2s import backends
from dvs2s.backends import EngineChoice
from dvs2s.config import ObjectiveConfig, SearchConfig, TrainConfig
from dvs2s.engine.engine import why_unavailable
from dvs2s.responder import Responder
from dvs2s.text.specials import SPECIALS
from dvs2s.text.vocabulary import Vocabulary

needs_engine = pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable() or "there")

WORDS = tuple(a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "s"))
MESSAGES = ["ba den fis", ["go lun", "mas", "nen pi ro"], "sas"]


def responder(engine: EngineChoice, *, objective: str = "joint", seed: int = 2) -> Responder:
    words = (*SPECIALS, *WORDS)
    counts = (0,) * len(SPECIALS) + tuple(range(len(WORDS), 0, -1))
    vocabulary = Vocabulary(words, counts, 20, "basic_english", sum(counts))
    model = make_model(seed, vocabulary_size=len(words), num_fixed=20, width=24)
    search = SearchConfig(size=70, beam=5, num_best=3, max_length=8)
    if objective == "cross_entropy":
        search = SearchConfig(vocabulary="full", beam=5, max_length=8)
    config = TrainConfig(objective=ObjectiveConfig(kind=objective), search=search)
    return Responder(model, vocabulary, config, engine=engine)


@needs_engine
@pytest.mark.parametrize(
    "search",
    [
        {},
        {"kind": "greedy", "num_best": 1, "alpha": 0.3},
        {"kind": "sampling", "top_k": 20, "num_best": 2},
        {"vocabulary": "threshold", "threshold": 0.4, "message_words": False},
        {"vocabulary": "full", "block_ngram": 2},
    ],
)
def test_answers_are_the_same(search: dict[str, object]) -> None:
    plain, compiled = responder("plain"), responder("compiled")
    for one, other in zip(
        plain.answers(MESSAGES, plain.search_config(**search), allow=["tus"], forbid=["ba"]),
        compiled.answers(MESSAGES, compiled.search_config(**search), allow=["tus"], forbid=["ba"]),
        strict=True,
    ):
        assert [r.tokens for r in one.replies] == [r.tokens for r in other.replies]
        assert [r.score for r in one.replies] == pytest.approx(
            [r.score for r in other.replies], abs=1e-3
        )
        betas = {w.word: w.beta for w in other.vocabulary}
        assert {w.word: w.beta for w in one.vocabulary} == pytest.approx(betas, abs=1e-4)
        assert one.seconds.keys() == other.seconds.keys()


@needs_engine
def test_a_model_without_word_prediction_answers_the_same() -> None:
    plain = responder("plain", objective="cross_entropy").reply("ba den")
    compiled = responder("compiled", objective="cross_entropy").reply("ba den")
    assert plain.text == compiled.text
    assert {w.beta for w in compiled.vocabulary} == {1.0}
    assert len(plain.vocabulary) == len(compiled.vocabulary)


def test_the_plain_search_is_said_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backends._say_once.cache_clear()
    monkeypatch.setattr(backends, "why_unavailable", lambda: "nobody built it")
    with caplog.at_level(logging.INFO, logger="dvs2s"):
        responder("plain")  # as asked for: nothing to say
        assert not caplog.text
        responder("auto")
        responder("auto")
    assert caplog.text.count("plain search (nobody built it)") == 1
    with pytest.raises(ValueError, match="needs the compiled engine: nobody built it"):
        responder("compiled")


@needs_engine
def test_what_the_engine_does_not_know_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    backends._say_once.cache_clear()
    bots = [responder("auto"), responder("auto")]
    with caplog.at_level(logging.INFO, logger="dvs2s"):
        for bot in bots:
            for message in MESSAGES:
                bot.reply(message, kind="diverse_beam", beam=4, groups=2)
    assert caplog.text.count("decoding with the plain search: kind=diverse_beam") == 1


@needs_engine
def test_the_engine_is_taken_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="dvs2s"):
        bot = responder("auto")
    assert "compiled engine (fp32" in caplog.text
    for bad in (
        {"engine": "fast"},
        {"precision": "int4"},
        {"engine": "plain", "precision": "int8"},
    ):
        with pytest.raises(ValueError, match="engine"):
            Responder(bot.model, bot.vocabulary, bot.config, **bad)  # type: ignore[arg-type]
