"""Listed words and a reranking partner, from the command line to the replies."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from dvs2s.cli import voice
from dvs2s.decoding.mmi import Weights
from dvs2s.reranking import Partner, reranked
from dvs2s.responder import Responder

SAID = "do you have any mubade?"


def lines(tmp_path: Path) -> str:
    path = tmp_path / "messages.txt"
    path.write_text(f"{SAID}\nwhat about the mubabe?\n")
    return f"input={path}"


def test_forbidden_words_stay_out_of_generate_and_chat(
    command: Command, bot: Responder, tmp_path: Path
) -> None:
    word = bot.reply(SAID).replies[0].tokens[0]
    expected = bot.answers([SAID, "what about the mubabe?"], forbid=[word])
    ran = command("generate", f"checkpoint={bot.source}", lines(tmp_path), f"forbid=[{word}]")
    assert ran.out.splitlines() == [answer.text for answer in expected]
    assert all(word not in answer.replies[0].tokens for answer in expected)
    assert "the vocabulary has no" not in ran.err
    unknown = command("generate", f"checkpoint={bot.source}", lines(tmp_path), "allow=[zebra,the]")
    assert "allow: the vocabulary has no zebra\n" in unknown.err
    text = (
        f"{SAID}\n/new\n/forbid {word.upper()} zebra\n{SAID}\n/new\n/free\n{SAID}\n/forbid a b*\n"
    )
    ran = command("chat", f"checkpoint={bot.source}", stdin=text.encode())
    free = bot.reply(SAID).text
    out = [line for line in ran.out.splitlines() if line != "a new conversation"]
    listed = f"allowed: -; forbidden: {word.upper()} zebra"
    assert out[:5] == [free, listed, expected[0].text, "allowed: -; forbidden: -", free]
    ran = command("generate", f"checkpoint={bot.source}", lines(tmp_path), "forbid=['two words*']")
    assert ran.code == 2 and "must be one word" in ran.err


@pytest.mark.parametrize("kind", ["bidirectional", "anti_lm"])
def test_replies_are_ranked_by_the_partner(
    kind: str, command: Command, bot: Responder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(
        bot.config,
        data=replace(bot.config.data, pairing="reverse" if kind[0] == "b" else "unconditional"),
        objective=replace(bot.config.objective, kind="cross_entropy"),
        search=replace(bot.config.search, vocabulary="full"),
    )
    other = Responder(bot.model, bot.vocabulary, config)
    monkeypatch.setattr(voice, "load", lambda *_, **__: other)
    options = [f"checkpoint={bot.source}", f"rerank={kind}", "partner=runs/other"]
    options += ["rerank_weight=3", "rerank_length=0.5", lines(tmp_path)]
    partner = Partner(other, kind)  # type: ignore[arg-type]
    weights = Weights(partner.kind, 3.0, 0.5)
    expected = []
    for text in (SAID, "what about the mubabe?"):
        answer = bot.reply(text, num_best=4)
        ids = np.array(bot.encode_message(text))
        expected.append(reranked(answer, partner.candidates([ids], [answer])[0], weights))
    ran = command("generate", *options)
    assert ran.out.splitlines() == [answer.text for answer in expected]
    assert any(e.text != bot.reply(t).text for e, t in zip(expected, [SAID, "x"], strict=True))
    ran = command("generate", *options, "search.num_best=2")
    for line, answer in zip(ran.out.splitlines(), expected, strict=True):
        found = [reply["text"] for reply in json.loads(line)["replies"]]
        assert found == [reply.text for reply in answer.replies[:2]]
    ran = command("generate", *options, "search=greedy")
    assert ran.code == 2 and "chooses among several replies" in ran.err


def test_a_partner_that_does_not_fit(command: Command, bot: Responder) -> None:
    source = f"checkpoint={bot.source}"
    ran = command("generate", source, "rerank=anti_lm")
    assert ran.code == 2 and "rerank and partner belong together" in ran.err
    ran = command("generate", source, "rerank=anti_lm", f"partner={bot.source}")
    assert ran.code == 2 and "trained with data.pairing=unconditional for anti_lm" in ran.err
