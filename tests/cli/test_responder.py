"""Answers: whose business they are, what is never said, and what the vocabulary view shows."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Compose

from dvs2s.answer import AdmittedWord
from dvs2s.cli import train
from dvs2s.config import SearchConfig
from dvs2s.decoding.options import SearchOptions
from dvs2s.errors import ConfigError
from dvs2s.responder import Responder
from dvs2s.selection import Selector
from dvs2s.text.specials import SEP, SPECIALS, UNK

MESSAGES = [
    "do you have any mubade?",
    "",
    "what about the mubabe?",
    "zebra xylophone",
    "i am not at the mubafa. " * 5,
    "</s> <pad> <s> <sep> <unk>",
    "is this your mubabo?",
]
KINDS: dict[str, dict[str, Any]] = {
    "greedy": {"kind": "greedy"},
    "beam": {"kind": "beam", "beam": 4, "num_best": 4},
    "sampling": {"kind": "sampling", "num_best": 3, "temperature": 1.5},
}
every_kind = pytest.mark.parametrize("search", KINDS.values(), ids=KINDS)


def texts(answer: Any) -> list[str]:
    return [reply.text for reply in answer.replies]


def words(answer: Any) -> set[str]:
    return {word for reply in answer.replies for word in reply.tokens}


@every_kind
def test_an_answer_does_not_depend_on_its_batch(bot: Responder, search: dict[str, Any]) -> None:
    config, seeds = bot.search_config(**search), list(range(len(MESSAGES)))
    together = bot.answers(MESSAGES, config, input_seeds=seeds)
    backwards = bot.answers(MESSAGES[::-1], config, input_seeds=seeds[::-1])[::-1]
    alone = [
        bot.answers([m], config, input_seeds=[s])[0] for m, s in zip(MESSAGES, seeds, strict=True)
    ]
    assert len({tuple(texts(answer)) for answer in alone}) > 2  # else this would show nothing
    for actual in (together, backwards):
        assert [texts(answer) for answer in actual] == [texts(answer) for answer in alone]
        for answer, expected in zip(actual, alone, strict=True):
            for mine, its in zip(answer.replies, expected.replies, strict=True):
                assert mine.score == pytest.approx(its.score, abs=1e-5)
                assert mine.log_prob == pytest.approx(its.log_prob, abs=1e-5)
            assert {w.word for w in answer.vocabulary} == {w.word for w in expected.vocabulary}


def test_a_seed_fixes_a_sample_and_another_changes_it(bot: Responder) -> None:
    config = bot.search_config(kind="sampling", num_best=3, temperature=2.0)
    same = [bot.answers(["hello"], config, input_seeds=[seed])[0] for seed in (5, 5, 6)]
    assert texts(same[0]) == texts(same[1]) != texts(same[2])
    other = replace(config, seed=1)
    assert texts(bot.answers(["hello"], other, input_seeds=[5])[0]) != texts(same[0])


@every_kind
@pytest.mark.parametrize("message", MESSAGES)
def test_replies_are_ranked_and_not_empty(
    bot: Responder, search: dict[str, Any], message: str
) -> None:
    answer = bot.reply(message, **search)
    scores = [reply.score for reply in answer.replies]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) <= search.get("num_best", 1)
    assert all(reply.text and len(reply.tokens) >= 1 for reply in answer.replies)
    assert words(answer) <= {word.word for word in answer.vocabulary}


def test_ten_thousand_words_are_answered_as_the_last_ones(bot: Responder) -> None:
    limit = bot.config.data.max_message_tokens
    long = ["the", "is", "a"] * 3333 + ["your"]
    ids = bot.encode_message(" ".join(long))
    assert ids == bot.vocabulary.encode(long[-limit:])
    assert texts(bot.reply(" ".join(long))) == texts(bot.reply(" ".join(long[-limit:])))


def test_typed_names_of_special_words_are_no_control_words(bot: Responder) -> None:
    ids = bot.encode_message(" ".join(SPECIALS) + " " + "".join(SPECIALS))
    assert ids and {i for i in ids if i < len(SPECIALS)} <= {UNK}


def test_turns_are_joined_and_the_oldest_left_out(bot: Responder) -> None:
    assert bot.config.data.context_turns == 1
    assert texts(bot.reply(["do you have any mubade?", "hello"])) == texts(bot.reply("hello"))
    config = replace(bot.config, data=replace(bot.config.data, context_turns=2))
    two = Responder(bot.model, bot.vocabulary, config)
    the, i = bot.vocabulary.encode(["the", "i"])
    assert two.encode_message(["a", "the", "i"]) == [the, SEP, i]
    assert two.encode_message("the") == [the]
    assert bot.reply(["the", ""]).text  # the newest turn is empty
    with pytest.raises(ValueError, match="message has no turn"):
        bot.reply([])


@every_kind
def test_special_words_are_never_said_however_likely(
    bot: Responder, search: dict[str, Any]
) -> None:
    eager = Responder(copy.deepcopy(bot.model), bot.vocabulary, bot.config)
    with torch.no_grad():
        for name, i in {word: i for i, word in enumerate(SPECIALS) if word != "</s>"}.items():
            eager.model.output.projection.bias[i] += 40.0
            assert name in bot.vocabulary.words
    answers = eager.answers(MESSAGES, eager.search_config(**search))
    assert all(not words(answer) & set(SPECIALS) for answer in answers)


@every_kind
def test_forbidden_words_are_never_said(bot: Responder, search: dict[str, Any]) -> None:
    said = words(bot.reply(MESSAGES[0], **search)) & set(bot.vocabulary.words)
    assert len(said) > 2
    for word in said:
        assert word not in words(bot.reply(MESSAGES[0], forbid=[word], **search))
    assert not words(bot.reply(MESSAGES[0], forbid=sorted(said), **search)) & said
    unknown = bot.reply(MESSAGES[0], forbid=["zebra", "<unk>", "</s>"], **search)
    assert texts(unknown) == texts(bot.reply(MESSAGES[0], **search))


def test_allowed_words_come_into_the_vocabulary(bot: Responder) -> None:
    narrow = {"size": bot.vocabulary.num_fixed, "message_words": False}
    assert bot.reply("hello", **narrow).vocabulary.content == ()
    rare = bot.vocabulary.words[-2:]
    answer = bot.reply("hello", allow=[*rare, "zebra", "<unk>", "the"], **narrow)
    assert {word.word for word in answer.vocabulary.content} == set(rare)
    assert bot.reply("hello", allow=["zebra"], **narrow).vocabulary.content == ()


def test_the_vocabulary_view(bot: Responder) -> None:
    vocabulary = bot.vocabulary
    size = vocabulary.num_fixed + 7
    view = bot.reply("hello", size=size, alpha=0.0, message_words=False).vocabulary
    function = set(vocabulary.words[len(SPECIALS) : vocabulary.num_fixed])
    assert {word.word for word in view.function} == function
    assert {word.beta for word in view.function} == {1.0}
    betas = [word.beta for word in view.content]
    assert betas == sorted(betas, reverse=True) and all(0 <= beta <= 1 for beta in betas)
    assert len(view.content) == 7 and len(view) == size - len(SPECIALS)
    assert (view.total, view[0]) == (len(vocabulary), view.content[0])

    everything = bot.reply("hello", vocabulary="full").vocabulary
    assert {word.word for word in everything} == set(vocabulary.words[len(SPECIALS) :])
    assert everything.content[:7] == view.content

    threshold = everything.content[4].beta - 1e-6
    some = {"vocabulary": "threshold", "threshold": threshold, "message_words": False}
    chosen = bot.reply("hello", **some).vocabulary.content
    assert chosen == tuple(word for word in everything.content if word.beta >= threshold)


def test_the_selection_exponent_prefers_rare_words(bot: Responder) -> None:
    vocabulary, alpha = bot.vocabulary, 0.5
    size = vocabulary.num_fixed + 7
    view = bot.reply("hello", size=size, message_words=False).vocabulary
    everything = bot.reply("hello", vocabulary="full").vocabulary

    def rank(word: AdmittedWord) -> float:
        share = vocabulary.counts[vocabulary.words.index(word.word)] / vocabulary.total_tokens
        return math.log(word.beta) - alpha * math.log(share)

    best = sorted(everything.content, key=rank, reverse=True)[:7]
    assert {word.word for word in view.content} == {word.word for word in best}
    assert {word.word for word in best} != {word.word for word in everything.content[:7]}


@pytest.mark.parametrize("vocabulary", ["frequency", "lexical", "threshold", "conformal"])
def test_the_selection_exponent_is_for_size_alone(vocabulary: str, bot: Responder) -> None:
    words = bot.vocabulary
    level = SimpleNamespace(size=words.num_fixed + 9, threshold=0.5)
    calibration: Any = SimpleNamespace(level=lambda *asked, **more: level)
    selector = Selector(words, torch.device("cpu"), calibration)
    odds = torch.randn(1, len(words) - words.num_fixed)
    chosen = [
        selector(
            SearchConfig(vocabulary=vocabulary, size=level.size, alpha=alpha, coverage_by="size"),
            odds,
            torch.zeros(1, 1, dtype=torch.int64),
        ).row(0)
        for alpha in (0.0, 5.0)
    ]
    assert chosen[0] == chosen[1]


def test_the_words_of_the_message_come_in(bot: Responder) -> None:
    rare = bot.vocabulary.words[-1]
    narrow = {"size": bot.vocabulary.num_fixed + 1}
    assert [w.word for w in bot.reply(rare, **narrow).vocabulary.content] == [rare]
    without = bot.reply(rare, **narrow, message_words=False).vocabulary.content
    assert [w.word for w in without] != [rare]


def test_a_size_of_all_words_is_the_full_vocabulary(bot: Responder) -> None:
    full = bot.reply(MESSAGES[0], vocabulary="full", num_best=4)
    assert bot.reply(MESSAGES[0], size=10**9, num_best=4).replies == full.replies


def test_settings_that_cannot_be(bot: Responder) -> None:
    fixed = bot.vocabulary.num_fixed
    with pytest.raises(ValueError, match=rf"at least the {fixed} .* got {fixed - 1}"):
        bot.reply("hello", size=fixed - 1)
    with pytest.raises(ConfigError, match="search.num_best.*, got 0|got 0: set search.num_best"):
        bot.reply("hello", num_best=0)
    with pytest.raises(TypeError, match="widht"):
        bot.reply("hello", widht=3)
    plain = replace(
        bot.config,
        objective=replace(bot.config.objective, kind="cross_entropy"),
        search=SearchConfig(vocabulary="full", **vars(SearchOptions(kind="greedy"))),
    )
    s2sa = Responder(bot.model, bot.vocabulary, plain)
    assert s2sa.reply("hello").text
    for dynamic in ("size", "threshold"):
        with pytest.raises(ValueError, match=f"search.vocabulary={dynamic} needs a word predictor"):
            s2sa.reply("hello", vocabulary=dynamic)
    with pytest.raises(ValueError, match="56 words and the model 57"):
        fewer = {name: getattr(bot.vocabulary, name)[:-1] for name in ("words", "counts")}
        smaller = replace(bot.vocabulary, **fewer)
        Responder(bot.model, smaller, bot.config)


def test_validation_counts_recall_as_beta_ranks(
    compose: Compose, tiny: tuple[str, ...], run_dir: Path, tmp_path: Path
) -> None:
    train.main(compose("train", *tiny, f"trainer.run={tmp_path}", "search.alpha=5"))
    recalls = []
    for run in (run_dir, tmp_path):
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        recalls.append([line["valid/recall/tokens"] for line in lines if "valid/loss" in line])
    assert recalls[0] and recalls[0] == recalls[1]
