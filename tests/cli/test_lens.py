"""The lens says what predicting β anew without a word says, for every word and every message."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command

from dvs2s.cli import lens_picture
from dvs2s.cli.lens import as_typed
from dvs2s.data.batch import make_batch
from dvs2s.lens import erasures
from dvs2s.responder import Responder
from dvs2s.text.specials import SEP

MESSAGES = ["do you have any mubade? do you?", "mubabe", "", "zebra what mubafa xylophone ."]


def log_odds(bot: Responder, ids: list[int]) -> torch.Tensor:
    """One message alone, as for a reply."""
    with torch.inference_mode():
        batch = make_batch([np.array(ids, dtype=np.int64)], None, [0])
        return bot.model.predict_words(bot.model.encode(batch.messages, batch.message_lengths))[0]


@pytest.mark.parametrize("message", MESSAGES)
def test_the_lens_is_word_prediction_without_each_word(bot: Responder, message: str) -> None:
    lens = bot.lens(message)
    admitted = bot.reply(message).vocabulary
    assert [word.word for word in lens.words] == [word.word for word in admitted.content]
    assert (lens.size, lens.total) == (len(admitted), len(bot.vocabulary))
    ids, fixed = bot.encode_message(message), bot.vocabulary.num_fixed
    whole = log_odds(bot, ids)
    for place, name in enumerate(lens.message_words):
        erased = [i for i in ids if bot.vocabulary.word(i) != name]
        without = log_odds(bot, erased)
        for word, shown in zip(lens.words, admitted.content, strict=True):
            i = bot.vocabulary.id(word.word) - fixed
            assert word.beta == pytest.approx(shown.beta, abs=1e-5)
            assert word.drops[place] == pytest.approx(float(whole[i] - without[i]), abs=1e-4)
            assert word.beta_without(place) == pytest.approx(float(without[i].sigmoid()), abs=1e-5)
    for word in lens.words:
        betas = [word.beta_without(place) for place in word.ranking]
        assert betas == sorted(betas)
        assert word.is_message_word == (word.word in lens.message_words)
        if word.brought_in_by is not None:
            assert word.brought_in_by == int(np.argmax(word.drops)) == word.ranking[0]
        else:
            assert max(word.drops) <= 0


def test_a_word_that_only_one_word_calls_for_is_brought_in_by_it(bot: Responder) -> None:
    """The task's replies hold the message's topic: the predictor learnt whom to ask."""
    message = "do you have any mubade?"
    content = [w for w in bot.lens(message).message_words if w.startswith("mub")]
    best = bot.lens(message, limit=3).words
    assert len(best) == 3 and len(content) == 1
    names = bot.lens(message).message_words
    assert all(w.brought_in_by is not None and names[w.brought_in_by] in content for w in best)


def test_erasures_keep_the_borders_of_turns() -> None:
    assert erasures([7, 8, SEP, 7, 9]) == ([7, 8, 9], [[8, SEP, 9], [7, SEP, 7, 9], [7, 8, SEP, 7]])
    assert erasures([]) == ([], [])


def test_the_command_prints_and_draws(command: Command, bot: Responder, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    source, message = f"checkpoint={bot.source}", "message=do you have any mubade?"
    ran = command("lens", source, message, "words=5", f"out={tmp_path}/deep/lens.png")
    assert ran.code == 0, ran.err
    assert (tmp_path / "deep" / "lens.png").read_bytes().startswith(b"\x89PNG")
    assert len(ran.out.splitlines()) == 7 and "brought in by" in ran.out
    ran = command("lens", source, message, f"out={tmp_path}/lens.json")
    content = json.loads((tmp_path / "lens.json").read_text())
    assert content["message_words"] == list(bot.lens("do you have any mubade?").message_words)
    assert len(content["words"][0]["drops"]) == len(content["message_words"])
    assert command("lens", source).code == 2
    assert as_typed(["words=3", 'message=I\'m "fine", {a: ${b}} [x]=1']) == [
        "words=3",
        'message="I\'m \\"fine\\", {a: \\${b}} [x]=1"',
    ]


def test_what_the_lens_refuses(bot: Responder) -> None:
    with pytest.raises(ValueError, match="limit must be at least 0, got -1"):
        bot.lens("hello", limit=-1)
    with pytest.raises(ValueError, match="message has no turn"):
        bot.lens([])


def test_words_that_no_font_has_are_said_in_one_line(
    bot: Responder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = bot.lens(MESSAGES[0])
    chinese = replace(plain, message_words=("\u5496\u5561",) * len(plain.message_words))
    monkeypatch.setattr(lens_picture, "_CHINESE", ())
    with caplog.at_level("WARNING", logger="dvs2s"):
        lens_picture.draw(plain, tmp_path / "plain.png")
        lens_picture.draw(chinese, tmp_path / "chinese.png")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and "no font of this machine has 2 of its characters" in said[0]
    assert (tmp_path / "chinese.png").stat().st_size > 1000
