"""Jobs in the compiled engine's running batch: nobody feels the others, and places come free."""

import itertools
import json
import logging
import os
import random
import resource
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import pytest

from dvs2s.backends import EngineBackend
from dvs2s.config import SearchConfig
from dvs2s.engine.engine import Precision, why_unavailable
from dvs2s.loading import load
from dvs2s.responder import Responder
from dvs2s.serving.generation import Generation
from dvs2s.serving.models import load_models
from dvs2s.serving.running import RunningBatch
from dvs2s.serving.schedule import Waiting, joining
from dvs2s.serving.wire import Event, Job, line
from dvs2s.serving.worker import Worker

pytestmark = pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable() or "there")

MESSAGES = ["the w0_1 is here", "what about w1_2 and w3_0 ?", "hello", "w2_0 w2_1", "😀 <unk> </s>"]
SEARCHES: list[dict[str, Any]] = [
    {"kind": "greedy", "num_best": 1, "min_length": 6},
    {"kind": "beam", "beam": 5, "num_best": 3},
    {"kind": "sampling", "num_best": 2, "temperature": 1.3, "top_p": 0.9},
    {"kind": "greedy", "num_best": 1, "vocabulary": "full"},
    {"kind": "sampling", "num_best": 1, "vocabulary": "threshold", "threshold": 0.2},
]


@pytest.fixture(scope="module")
def bot(tiny_run: Path) -> Responder:
    return load(tiny_run, engine="compiled")


class Batch:
    """A running batch and what it has said."""

    def __init__(self, bot: Responder) -> None:
        assert isinstance(bot.backend, EngineBackend)
        self.bot = bot
        self.events: dict[int, list[Event]] = {}
        self.batch = RunningBatch(bot, bot.backend, self._take)

    def _take(self, event: Event) -> None:
        self.events.setdefault(event["id"], []).append(event)

    def join(self, *jobs: Job) -> None:
        self.batch.join([Waiting(job, SearchConfig(**job.search), 1) for job in jobs])

    def finish(self) -> dict[int, list[Event]]:
        while len(self.batch):
            self.batch.step()
        return self.events


def job(bot: Responder, number: int, search: dict[str, Any], **values: Any) -> Job:
    text = values.pop("text", MESSAGES[number % len(MESSAGES)])
    config = asdict(bot.search_config(**search))
    return Job(number, "tiny", (text,), config, **{"seed": number, "lens": 100, **values})


def told(events: list[Event]) -> list[Any]:
    """Returns all that a client is told but for times and company."""
    return [{k: v for k, v in e.items() if k not in ("seconds", "batch")} for e in events]


@pytest.mark.parametrize("precision", get_args(Precision))
def test_a_reply_is_the_same_bit_for_bit_whatever_else_is_served(
    tiny_run: Path, precision: Precision
) -> None:
    bot = load(tiny_run, engine="compiled", precision=precision)
    mine = [job(bot, i, search, stream=True) for i, search in enumerate(SEARCHES)]
    alone = []
    for one in mine:
        batch = Batch(bot)
        batch.join(one)
        alone.append(batch.finish()[one.id])
    chance = random.Random(precision)
    batch = Batch(bot)
    others = [
        job(bot, 100 + i, chance.choice(SEARCHES), text=" ".join(chance.choices(MESSAGES, k=2)))
        for i in range(64)
    ]
    everybody = [*mine, *others]
    chance.shuffle(everybody)
    while everybody:
        count = chance.randint(1, 9)
        batch.join(*everybody[:count])
        del everybody[:count]
        batch.batch.step()
        for gone in chance.sample(others, 2):
            batch.batch.cancel(gone.id)
    batch.finish()
    for one, expected in zip(mine, alone, strict=True):
        assert told(batch.events[one.id]) == told(expected)


def test_no_reply_of_a_thousand_holds_another_messages_words(bot: Responder) -> None:
    chance, greedy = random.Random(7), asdict(bot.search_config(**SEARCHES[0]))
    content = bot.vocabulary.words[bot.vocabulary.num_fixed :]
    texts = [f"the {' and '.join(chance.sample(content, 3))} ?" for _ in range(1000)]
    jobs = [Job(i, "tiny", (text,), greedy, lens=3) for i, text in enumerate(texts)]
    together, alone = Batch(bot), Batch(bot)
    for first in range(0, 1000, 50):
        together.join(*jobs[first : first + 50])
        together.batch.step()
    together.finish()
    for one in jobs:
        alone.join(one)
        assert told(together.events[one.id]) == told(alone.finish()[one.id])


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_it_says_what_the_plain_search_says(bot: Responder, search: dict[str, Any]) -> None:
    batch, plain = Batch(bot), []
    jobs = [job(bot, i, search, stream=True) for i in range(len(MESSAGES))]
    batch.join(*jobs)
    Generation(
        bot,
        bot.search_config(**search),
        jobs,
        emit=plain.append,
        is_cancelled=lambda _: False,
    ).run()
    for number, events in batch.finish().items():
        expected = [event for event in plain if event["id"] == number]
        assert [e["kind"] for e in events] == [e["kind"] for e in expected]
        for event, other in zip(told(events), told(expected), strict=True):
            assert_alike(event, other)


def assert_alike(one: Any, other: Any) -> None:
    """Asserts that two events are equal, numbers to float32's accuracy."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_alike(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_alike(a, b)
    else:
        assert one == (pytest.approx(other, abs=2e-4) if isinstance(one, float) else other)


def test_a_stop_ends_the_reply_and_words_are_let_in_and_kept_out(bot: Responder) -> None:
    greedy = SEARCHES[0]
    batch = Batch(bot)
    batch.join(*(job(bot, i, greedy) for i in range(3)))
    texts = [batch.finish()[i][-1]["replies"][0]["text"] for i in range(3)]
    tokens = batch.events[0][-1]["replies"][0]["tokens"]
    middle, rare = texts[0].split()[1], bot.vocabulary.words[-1]
    batch = Batch(bot)
    batch.join(
        job(bot, 0, greedy, stop=(middle,), stream=True),
        job(bot, 1, greedy),
        job(bot, 5, greedy, forbid=(tokens[0],)),
        job(bot, 10, {**greedy, "vocabulary": "threshold", "threshold": 0.999}, allow=(rare,)),
    )
    events = batch.finish()
    cut = events[0][-1]["replies"][0]
    assert cut["text"] == texts[0][: texts[0].index(middle)] and cut["finish"] == "stop"
    assert "".join(e["text"] for e in events[0] if e["kind"] == "text") == cut["text"]
    assert events[1][-1]["replies"][0]["text"] == texts[1]
    assert tokens[0] not in events[5][-1]["replies"][0]["tokens"]
    assert [w["word"] for w in events[10][-1]["vocabulary"]["content"]].count(rare) == 1
    assert events[10][-1]["batch"] == 4


def test_a_client_is_told_how_many_of_its_words_are_unknown(bot: Responder) -> None:
    known = bot.vocabulary.words[-1]
    texts = [known, f"{known} zorgblat", "😀 <unk> </s>"]
    batch = Batch(bot)
    batch.join(*(job(bot, i, SEARCHES[0], text=text) for i, text in enumerate(texts)))
    events = batch.finish()
    heard = [events[i][-1]["heard"] for i in range(3)]
    lengths = [len(bot.encode_message(text)) for text in texts]
    assert heard == [
        {"words": n, "unknown": k} for n, k in zip(lengths, (0, 1, lengths[2]), strict=True)
    ]


def test_one_that_cannot_be_answered_does_not_take_the_others_along(bot: Responder) -> None:
    batch = Batch(bot)
    bad = job(bot, 1, SEARCHES[2], seed=-1)
    batch.join(job(bot, 0, SEARCHES[2]), bad, job(bot, 2, SEARCHES[2]))
    assert len(batch.batch) == 2
    events = batch.finish()
    assert events[1] == [
        {"kind": "error", "id": 1, "status": 500, "reason": "ValueError in the engine"}
    ]
    assert events[0][-1]["kind"] == events[2][-1]["kind"] == "done"


def test_ten_thousand_joiners_and_leavers_leave_nothing_behind(bot: Responder) -> None:
    count = int(os.environ.get("DVS2S_TEST_JOBS", "2000"))
    chance, batch = random.Random(0), Batch(bot)
    batch.events = Forgetful()
    kinds = [job(bot, i, search, lens=0) for i, search in enumerate(SEARCHES)]
    start, cancelled, done = 0, 0, 0
    numbers = iter(range(1000, 1000 + count))
    alive: set[int] = set()
    while True:
        wave = [
            Job(**{**chance.choice(kinds).__dict__, "id": number})
            for number in itertools.islice(numbers, 8)
        ]
        batch.join(*wave)
        alive |= {one.id for one in wave}
        for number in chance.sample(sorted(alive), min(3, len(alive))):
            before = len(batch.batch)
            batch.batch.cancel(number)
            cancelled += before - len(batch.batch)
        batch.batch.step()
        ended = alive - set(batch.batch._numbers)
        done += len(ended)
        alive -= ended
        if start == 0 and done > count // 4:
            start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if not wave and not alive:
            break
    assert done == count and cancelled > count // 10
    assert len(batch.batch) == batch.batch.cells == 0
    assert not batch.batch._members and not batch.batch._numbers
    assert batch.batch._session.step().ended == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start < 8_000  # KiB


class Forgetful(dict[int, list[Event]]):
    """Keeps nothing, so that it is not our own notes that grow."""

    def setdefault(self, key: int, default: Any = None) -> list[Event]:
        return []


def test_who_does_not_fit_waits_and_is_not_overtaken() -> None:
    def waiting(number: int, cells: int) -> Waiting:
        return Waiting(Job(number, "m", ("x",), {}), SearchConfig(), cells)

    line = deque(waiting(i, c) for i, c in enumerate((3, 9, 1, 1)))
    assert [w.job.id for w in joining(line, 9, 10, is_empty=False)] == [0]
    assert [w.job.id for w in joining(line, 9, 8, is_empty=False)] == []
    assert [w.job.id for w in joining(line, 9, 8, is_empty=True)] == [1]
    assert [w.job.id for w in joining(line, 1, 8, is_empty=False)] == [2]
    assert [w.job.id for w in line] == [3]


class Pipes:
    """A worker in a thread, spoken to as the front does."""

    def __init__(self, models: dict[str, Responder], **limits: Any) -> None:
        ends = [os.pipe(), os.pipe()]
        self._to = os.fdopen(ends[0][1], "wb")
        self._from = os.fdopen(ends[1][0], "rb")
        self._files = [os.fdopen(ends[0][0], "rb"), os.fdopen(ends[1][1], "wb")]
        merged = {"max_batch": 32, "batch_cells": 10**7, "batch_wait": 0.0, **limits}
        self.worker = Worker(models, self._files[1], **merged)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self.worker.run, args=(self._files[0],))
        self._thread.start()

    def say(self, message: dict[str, Any]) -> None:
        self._to.write(line(message))
        self._to.flush()

    def events(self) -> Iterator[Event]:
        for data in self._from:
            event = json.loads(data)
            if event["kind"] != "beat":
                yield event

    def close(self) -> None:
        self._to.close()
        self._thread.join(30)
        assert not self._thread.is_alive()
        for file in (*self._files, self._from):
            file.close()


def test_what_the_engine_cannot_do_goes_to_the_plain_search_beside_it(
    bot: Responder, caplog: pytest.LogCaptureFixture
) -> None:
    number = len(bot.vocabulary) - 1
    pipes = Pipes({"tiny": bot}, max_batch=3)
    with caplog.at_level(logging.INFO, "dvs2s"):
        biased = [job(bot, 50 + i, SEARCHES[0], bias=((number, 100.0),)) for i in range(3)]
        plain = [job(bot, i, SEARCHES[i % len(SEARCHES)], stream=True) for i in range(20)]
        for one in [*plain[:10], *biased, *plain[10:]]:
            pipes.say({"job": one.plain()})
        done: dict[int, Event] = {}
        for event in pipes.events():
            if event["kind"] in ("done", "error"):
                done[event["id"]] = event
            if len(done) == 23:
                break
        # cancelled in the line, at work, and after its end
        for one in [*plain, *biased]:
            pipes.say({"job": {**one.plain(), "id": one.id + 1000}})
            pipes.say({"cancel": one.id + 1000})
            pipes.say({"cancel": one.id})
        pipes.say({"job": job(bot, 9999, SEARCHES[0]).plain()})
        assert any(e["id"] == 9999 and e["kind"] == "done" for e in pipes.events())
        pipes.close()
    assert {e["kind"] for e in done.values()} == {"done"}
    word = bot.vocabulary.word(number)
    assert all(set(done[50 + i]["replies"][0]["tokens"]) == {word} for i in range(3))
    assert all(done[one.id]["batch"] <= 3 for one in plain)
    assert sum("plain search: logit_bias" in r.message for r in caplog.records) == 1
    worker = pipes.worker
    assert not worker._cancelled and not worker._waiting and not worker._answering
    assert not any(worker._lines.values()) and not len(worker._running["tiny"])


def test_one_line_says_who_serves_and_why(tiny_run: Path, caplog: pytest.LogCaptureFixture) -> None:
    def lines(engine: str, precision: str) -> tuple[list[str], str]:
        caplog.clear()
        models = {"a": str(tiny_run)}
        settings = {"models": models, "device": "cpu", "engine": engine, "search": {}}
        with caplog.at_level(logging.INFO, "dvs2s"):
            _, infos = load_models({**settings, "precision": precision})
        said = [r.message for r in caplog.records if r.message.startswith("decoding on")]
        return said, infos[0].kernels

    for engine, precision, expected in (
        ("auto", "int8", "compiled engine (int8"),
        ("compiled", "bf16", "compiled engine (bf16"),
        ("plain", "bf16", "plain search"),
        ("plain", "fp32", "plain search"),
    ):
        said, kernels = lines(engine, precision)
        if engine == "plain":  # as asked for
            assert not said
        else:
            assert len(said) == 1 and said[0].startswith(f"decoding on cpu: {expected}")
        assert kernels.startswith(expected.split(" (")[0])
    with pytest.raises(ValueError, match="needs the compiled engine"):
        lines("plain", "int8")
