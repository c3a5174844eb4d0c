"""A batch of jobs: each reply is what it would be alone, and streams, stops and biases hold."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dvs2s.config import SearchConfig
from dvs2s.decoding.search import search
from dvs2s.decoding.session import Session
from dvs2s.loading import load
from dvs2s.responder import Responder
from dvs2s.serving.bias import Biased, slot_bias
from dvs2s.serving.generation import Generation
from dvs2s.serving.models import set_precision
from dvs2s.serving.schedule import Waiting, cells, next_batch
from dvs2s.serving.wire import Event, Job

MESSAGES = ["the w0_1 is here", "what about w1_2 and w3_0 ?", "hello", "w2_0 w2_1", "😀 <unk> </s>"]
SEARCHES = [
    {"kind": "greedy", "num_best": 1},
    {"kind": "beam", "beam": 5, "num_best": 3},
    {"kind": "sampling", "num_best": 2, "temperature": 1.3, "top_p": 0.9},
    {"kind": "greedy", "num_best": 1, "vocabulary": "full"},
]


@pytest.fixture(scope="module")
def bot(tiny_run: Path) -> Responder:
    return load(tiny_run)


def job(bot: Responder, number: int, text: str, config: SearchConfig, **values: Any) -> Job:
    return Job(number, "tiny", (text,), asdict(config), seed=number, **values)


def run(bot: Responder, config: SearchConfig, jobs: list[Job]) -> dict[int, list[Event]]:
    events: list[Event] = []
    Generation(bot, config, jobs, emit=events.append, is_cancelled=lambda _: False).run()
    return {j.id: [e for e in events if e["id"] == j.id] for j in jobs}


@pytest.mark.parametrize("overrides", SEARCHES, ids=str)
def test_a_reply_is_the_same_in_any_company_and_equals_the_responders(
    bot: Responder, overrides: dict[str, Any]
) -> None:
    config = bot.search_config(**overrides)
    jobs = [job(bot, i, text, config, lens=100) for i, text in enumerate(MESSAGES)]
    together = run(bot, config, jobs)
    for i, text in enumerate(MESSAGES):
        done = together[i][-1]
        alone = run(bot, config, [jobs[i]])[i][-1]
        expected = bot.answers([text], config, input_seeds=[i])[0]
        tokens = [list(reply.tokens) for reply in expected.replies]
        assert [r["tokens"] for r in done["replies"]] == tokens
        assert [r["tokens"] for r in alone["replies"]] == tokens
        assert [r["text"] for r in done["replies"]] == [r.text for r in expected.replies]
        best = expected.vocabulary.content
        assert done["vocabulary"]["size"] == len(expected.vocabulary)
        assert {w["word"] for w in done["vocabulary"]["content"]} == {w.word for w in best}
        assert done["vocabulary"]["function"] == [w.word for w in expected.vocabulary.function]


def test_a_stream_tells_t_first_and_adds_up_to_the_reply(bot: Responder) -> None:
    for overrides in SEARCHES[:2]:
        config = bot.search_config(**overrides)
        jobs = [job(bot, i, m, config, stream=True, lens=5) for i, m in enumerate(MESSAGES)]
        for events in run(bot, config, jobs).values():
            assert [events[0]["kind"], events[-1]["kind"]] == ["words", "done"]
            assert all(e["kind"] == "text" for e in events[1:-1])
            text = "".join(e["text"] for e in events[1:-1])
            assert text == events[-1]["replies"][0]["text"]
            assert len(events[0]["vocabulary"]["content"]) == 5


def test_a_stop_ends_the_reply_and_nobody_elses(bot: Responder) -> None:
    config = bot.search_config(kind="greedy")
    plain = run(bot, config, [job(bot, i, m, config) for i, m in enumerate(MESSAGES)])
    texts = [plain[i][-1]["replies"][0]["text"] for i in range(len(MESSAGES))]
    middle = texts[0].split()[1]
    stopping = job(bot, 0, MESSAGES[0], config, stop=(middle,))
    after = run(
        bot, config, [stopping, *(job(bot, i, m, config) for i, m in enumerate(MESSAGES) if i)]
    )
    first = after[0][-1]["replies"][0]
    assert first["text"] == texts[0][: texts[0].index(middle)] and first["finish"] == "stop"
    assert [after[i][-1]["replies"][0]["text"] for i in range(1, len(MESSAGES))] == texts[1:]


def test_a_cancelled_job_stops_at_once_and_says_nothing(bot: Responder) -> None:
    config, events = bot.search_config(kind="greedy"), []
    asked: list[int] = []

    def is_cancelled(number: int) -> bool:
        asked.append(number)
        return number == 0

    jobs = [job(bot, i, m, config, stream=True) for i, m in enumerate(MESSAGES[:2])]
    Generation(bot, config, jobs, emit=events.append, is_cancelled=is_cancelled).run()
    assert asked.count(0) == 2, "once at the first word, which is its last, and once at the end"
    assert {e["kind"] for e in events if e["id"] == 0} == {"words"}
    assert [e["kind"] for e in events if e["id"] == 1][-1] == "done"


def test_forbidden_words_are_not_said_and_allowed_ones_are_in_t(bot: Responder) -> None:
    config = bot.search_config(kind="greedy", vocabulary="threshold", threshold=0.999)
    plain = run(bot, config, [job(bot, 0, MESSAGES[0], config)])[0][-1]
    word = plain["replies"][0]["tokens"][0]
    rare = bot.vocabulary.words[-1]
    one = job(bot, 0, MESSAGES[0], config, forbid=(word,), allow=(rare,), lens=100)
    both = run(bot, config, [one, job(bot, 1, MESSAGES[0], config, lens=100)])
    assert word not in both[0][-1]["replies"][0]["tokens"]
    assert word in both[1][-1]["replies"][0]["tokens"]
    assert rare in {w["word"] for w in both[0][-1]["vocabulary"]["content"]}
    assert rare not in {w["word"] for w in both[1][-1]["vocabulary"]["content"]}


def test_sources_are_those_of_the_lens_where_asked_for(bot: Responder) -> None:
    config = bot.search_config(kind="greedy", num_best=1)
    asked = job(bot, 0, MESSAGES[1], config, lens=5, sources=True)
    done = run(bot, config, [asked, job(bot, 1, MESSAGES[1], config, lens=5)])
    assert "sources" not in done[1][-1]
    lens = bot.lens(MESSAGES[1], limit=5)
    listed = done[0][-1]["vocabulary"]["content"]
    assert len(listed) == 5
    for told, word, shown in zip(done[0][-1]["sources"], lens.words, listed, strict=True):
        assert told["word"] == word.word == shown["word"]
        place = word.brought_in_by
        assert told["brought_in_by"] == (None if place is None else lens.message_words[place])


def test_a_bias_shifts_the_distribution_by_just_that_much(bot: Responder) -> None:
    config = bot.search_config(kind="greedy")
    batch = bot.batch(MESSAGES[:3])
    with torch.inference_mode():
        encoded = bot.model.encode(batch.messages, batch.message_lengths)
        vocab = bot.selector(config, bot.log_odds(encoded, config), batch.messages)
        session = Session(bot.model, encoded, vocab)
        word = int(vocab.ids[1, 7])
        bias = slot_bias(vocab.ids, vocab.keep, [{}, {word: 2.5}, {}])
        plain, _ = session.start()
        shifted, state = Biased(session, bias).start()
        odds = shifted - plain
        torch.testing.assert_close(shifted[0], plain[0])
        others = odds[1, 0][plain[1, 0] > -torch.inf]
        difference = odds[1, 0, 7] - others.min()
        assert float(difference) == pytest.approx(2.5, abs=1e-4)
        assert float(shifted.logsumexp(-1).abs().max()) < 1e-5
        zero = search(Biased(session, torch.zeros_like(bias)), config.options())
        assert [h[0].slots for h in zero] == [h[0].slots for h in search(session, config.options())]
    assert not bool(bias[0].any()) and int((bias[1] != 0).sum()) == 1
    with pytest.raises(ValueError, match="bias must be"):
        Biased(session, bias[:, 1:])


def test_logit_bias_bans_and_forces_words(bot: Responder) -> None:
    config = bot.search_config(kind="greedy")
    first = run(bot, config, [job(bot, 0, "hello", config)])[0][-1]["replies"][0]["tokens"][0]
    number = bot.vocabulary.id(first)
    banned = run(bot, config, [job(bot, 0, "hello", config, bias=((number, -100.0),))])[0][-1]
    assert first not in banned["replies"][0]["tokens"]
    last = len(bot.vocabulary) - 1
    forced = run(bot, config, [job(bot, 0, "hello", config, bias=((last, 100.0),))])[0][-1]
    assert forced["replies"][0]["tokens"] == [bot.vocabulary.word(last)] * config.max_length


@pytest.mark.parametrize("overrides", SEARCHES[:2], ids=str)
def test_rounded_weights_answer_nearly_the_same(tiny_run: Path, overrides: dict[str, Any]) -> None:
    exact, rounded = load(tiny_run), load(tiny_run)
    set_precision(rounded.model, "bf16")
    assert rounded.model.output.projection.weight.dtype == torch.bfloat16
    config = exact.search_config(**overrides)
    for text in MESSAGES:
        scores = [
            run(bot, config, [job(bot, 0, text, config, lens=99)])[0][-1]["replies"][0]["log_prob"]
            for bot in (exact, rounded)
        ]
        assert scores[1] == pytest.approx(scores[0], rel=0.15)
    with pytest.raises(ValueError, match="precision must be one of"):
        set_precision(exact.model, "int3")


def test_batches_hold_what_fits_together_oldest_first() -> None:
    greedy, beam = SearchConfig(kind="greedy"), SearchConfig(kind="beam")

    def waiting(number: int, config: SearchConfig, model: str = "m", cost: int = 1) -> Waiting:
        return Waiting(Job(number, model, ("x",), {}), config, cost)

    line = [waiting(0, greedy), waiting(1, beam), waiting(2, greedy), waiting(3, greedy, "other")]
    line += [waiting(4, replace(greedy)), waiting(5, greedy, cost=9)]
    assert [w.job.id for w in next_batch(line, 32, 10)] == [0, 2, 4]
    assert [w.job.id for w in next_batch(line, 2, 10)] == [0, 2]
    assert [w.job.id for w in next_batch(line[1:], 32, 10)] == [1]
    assert [w.job.id for w in next_batch([waiting(9, greedy, cost=99)], 32, 10)] == [9]
    assert cells(replace(beam, beam=20, size=500), 2673, 100) == 10_000
    assert cells(replace(greedy, vocabulary="full"), 2673, 100) == 2673
    assert cells(SearchConfig(kind="diverse_beam", beam=20, size=500), 2673, 100) == 10_000
    assert cells(SearchConfig(vocabulary="threshold", beam=2), 50, 100) == 100
