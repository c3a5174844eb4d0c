"""TA-S2S from the command line: topics are found once, and a checkpoint needs nothing beside it."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, Compose

from dvs2s import backends
from dvs2s.build import prepared_data
from dvs2s.data.synthetic import make_task
from dvs2s.errors import ConfigError, Dvs2sError
from dvs2s.loading import load
from dvs2s.responder import Responder
from dvs2s.topics import TopicOptions, topic_counts

pytest.importorskip("gensim")
TA_S2S = (
    "objective=ta_s2s",
    "model.num_topics=4",
    "model.topic_words=6",
    "objective.topic_common=0",
)


@pytest.fixture(scope="module")
def run(compose: Compose, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run of TA-S2S."""
    from dvs2s.cli import train

    folder = tmp_path_factory.mktemp("ta_s2s")
    train.main(compose("train", *tiny, *TA_S2S, f"trainer.run={folder}"))
    return folder


def replies(bot: Responder, **search: object) -> list[list[tuple[str, float]]]:
    messages = ["do you have any muba?", "what about the mube?", "xyzzy", ""]
    answers = bot.answers(messages, bot.search_config(**search))
    return [[(reply.text, reply.score) for reply in answer.replies] for answer in answers]


def test_a_checkpoint_needs_neither_gensim_nor_the_corpus(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "gensim", None)
    caplog.set_level(logging.INFO, "dvs2s")
    backends._say_once.cache_clear()  # an earlier test may have heard it
    bot, again = load(run), load(run)
    assert [r for r in caplog.messages if "the engine knows no topic words" in r]
    assert all("plain search" in message for message in caplog.messages)
    assert replies(bot) == replies(again)
    beam = replies(bot, kind="beam", beam=4, num_best=2)
    assert all(len(found) == 2 and found[0][1] >= found[1][1] for found in beam)
    assert replies(bot, kind="greedy") == replies(bot, kind="beam", beam=1)
    for choice in ({"engine": "compiled"}, {"precision": "int8"}):
        with pytest.raises(
            ValueError, match="needs the compiled engine: the engine knows no topic"
        ):
            load(run, **choice)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="search.vocabulary=size needs a word predictor"):
        bot.search_config(vocabulary="size")


def test_it_learns_and_a_resumed_run_finds_its_topics_again(
    run: Path, tiny: tuple[str, ...], compose: Compose, command: Command,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    bot = load(run)
    data = prepared_data(compose("train", *tiny).data, progress=False)
    said, right = 0, 0
    truth = make_task(1, num_topics=4).right_words
    for word, words in truth.items():
        reply = bot.reply(f"do you have any {word}?", kind="greedy").replies[0]
        said, right = said + 1, right + (words[0] in reply.tokens)
    assert right / said > 0.5
    again = command("evaluate", f"checkpoint={run}")
    assert again.code == 0 and again.out.startswith("TA-S2S") or "TA-S2S" in again.out
    monkeypatch.setitem(sys.modules, "gensim", None)  # the counts are kept beside the corpus
    more = command("train", *tiny, *TA_S2S, f"trainer.run={run}", "trainer.max_updates=60")
    assert more.code == 0, more.err
    options = TopicOptions(4, common=1)
    with pytest.raises(Dvs2sError, match="topics of objective=ta_s2s need gensim"):
        topic_counts(data, options)
    with pytest.raises(ConfigError, match="objective.topic_common must be below the vocabulary's"):
        topic_counts(data, TopicOptions(4, common=99))


def test_topics_are_the_same_every_time_and_damage_is_mended(
    tiny: tuple[str, ...], compose: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    data = prepared_data(compose("train", *tiny).data, progress=False)
    options = TopicOptions(4, common=2, passes=2, max_pairs=100)
    first = topic_counts(data, options)
    assert first.shape == (len(data.vocabulary), 4) and first.dtype == np.float32
    left_out = data.vocabulary.num_fixed + 2
    assert (first[:left_out] == 0).all() and (first[left_out:] > 0).all()
    kept = sorted(data.folder.glob("topics-*"))
    newest = max(kept, key=lambda path: path.stat().st_mtime_ns)
    content = newest.read_bytes()
    newest.write_bytes(content[:-5])
    with caplog.at_level(logging.WARNING, "dvs2s"):
        mended = topic_counts(data, options)
    assert "is damaged" in caplog.text and np.array_equal(mended, first)
    assert newest.read_bytes() == content and np.array_equal(topic_counts(data, options), first)
    for bad in ({"num_topics": 0}, {"num_topics": 1, "passes": 0}, {"num_topics": 1, "common": -1}):
        with pytest.raises(ValueError, match="must be at least"):
            TopicOptions(**bad)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("model.num_topics=4",), "model.num_topics above 0 and objective.kind=ta_s2s belong"),
        ((*TA_S2S, "model.num_topics=0"), "model.num_topics above 0 and objective.kind=ta_s2s"),
        ((*TA_S2S, "search.vocabulary=size"), "objective.kind=ta_s2s trains no word predictor"),
        ((*TA_S2S, "model.topic_words=99"), "words for topics of 99: set model.topic_words"),
        ((*TA_S2S, "model.latent_size=4"), "set objective=cvae, or model.latent_size=0"),
    ],
)
def test_what_does_not_go_together_is_refused(
    command: Command, tiny: tuple[str, ...], tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    ran = command("train", *tiny, *options, f"trainer.run={tmp_path}/run")
    assert ran.code == 2 and reason in ran.err
