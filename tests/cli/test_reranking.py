"""Partners of reranking: what they learn from, and that they say what the model says."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Compose

from dvs2s.build import prepared_data, training_pairs
from dvs2s.decoding.mmi import ANTI_LM_WORDS, Weights
from dvs2s.reranking import Partner, reranked
from dvs2s.responder import Responder
from dvs2s.text.specials import EOS, UNK


def test_pairings_turn_the_pairs_round(compose: Compose, tiny: tuple[str, ...]) -> None:
    plain = (*tiny, "objective=s2sa")
    data = prepared_data(compose("train", *plain).data, progress=False)
    forward = training_pairs(compose("train", *plain), data, "test")
    reverse = training_pairs(compose("train", *plain, "data.pairing=reverse"), data, "test")
    alone = training_pairs(compose("train", *plain, "data.pairing=unconditional"), data, "test")
    assert len(forward) == len(reverse) == len(alone) == 24
    for i in range(24):
        message, response = forward.message(i).tolist(), forward.response(i).tolist()
        assert (reverse.message(i).tolist(), reverse.response(i).tolist()) == (response, message)
        assert (alone.message(i).tolist(), alone.response(i).tolist()) == ([UNK], response)
    for pairs in (forward, reverse, alone):
        lengths = [(len(pairs.message(i)), len(pairs.response(i))) for i in range(24)]
        actual = zip(pairs.message_lengths, pairs.response_lengths, strict=True)
        assert [tuple(map(int, pair)) for pair in actual] == lengths


@pytest.mark.parametrize("kind", ["bidirectional", "anti_lm"])
def test_a_partner_says_what_its_model_says(bot: Responder, kind: str) -> None:
    pairing = {"bidirectional": "reverse", "anti_lm": "unconditional"}[kind]
    config = replace(
        bot.config,
        data=replace(bot.config.data, pairing=pairing),
        objective=replace(bot.config.objective, kind="cross_entropy"),
        search=replace(bot.config.search, vocabulary="full"),
    )
    partner = Partner(Responder(bot.model, bot.vocabulary, config), kind)  # type: ignore[arg-type]
    texts = ["do you have any mubade?", "what about the mubaba?"]
    messages = [np.array(bot.encode_message(text)) for text in texts]
    answers = [bot.reply(text, num_best=4) for text in texts]
    found = partner.candidates(messages, answers)
    for message, answer, candidates in zip(messages, answers, found, strict=True):
        assert len(candidates) == len(answer.replies) > 1
        for reply, candidate in zip(answer.replies, candidates, strict=True):
            words = bot.vocabulary.encode(reply.tokens)
            asked, said = (words, message.tolist()) if pairing == "reverse" else ([UNK], words)
            expected = log_prob(bot, asked, [*said, EOS], ANTI_LM_WORDS if kind == "anti_lm" else 0)
            assert candidate.partner == pytest.approx(expected, abs=1e-4)
            assert candidate.log_prob == reply.log_prob
            assert candidate.length == len(words) + 1
        weights = Weights(kind, 2.0, 0.5)  # type: ignore[arg-type]
        new = reranked(answer, candidates, weights)
        assert sorted(r.text for r in new.replies) == sorted(r.text for r in answer.replies)
        best = max(range(len(candidates)), key=lambda i: weights.score(candidates[i]))
        assert new.text == answer.replies[best].text
        assert new.replies[0].score == weights.score(candidates[best])


def log_prob(bot: Responder, message: list[int], response: list[int], first: int) -> float:
    with torch.inference_mode():
        encoded = bot.model.encode(torch.tensor([message]), torch.tensor([len(message)]))
        hidden = bot.model.unroll(encoded, torch.tensor([response]))
        rows = bot.model.output.projection(hidden)[0].log_softmax(-1)
    values = [float(rows[place, word]) for place, word in enumerate(response)]
    return math.fsum(values[:first] if first else values)


def test_a_model_that_learnt_something_else_is_no_partner(bot: Responder) -> None:
    with pytest.raises(ValueError, match="data.pairing=reverse for bidirectional, got forward"):
        Partner(bot, "bidirectional")
