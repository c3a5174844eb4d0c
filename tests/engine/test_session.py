"""Continuous batching: joining, leaving, streaming; nobody feels the others."""

import random
import resource

import pytest
from engine_toy import make_messages, make_model, plain

from dvs2s.decoding.search import SearchOptions
from dvs2s.engine.engine import Engine, Precision, why_unavailable
from dvs2s.engine.results import Decoded
from dvs2s.engine.words import Words

pytestmark = pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable() or "there")

KINDS = (
    (SearchOptions(kind="greedy", max_length=9), Words("size", size=160)),
    (
        SearchOptions(kind="beam", beam=7, num_best=3, max_length=8),
        Words("threshold", threshold=0.6),
    ),
    (SearchOptions(kind="sampling", num_best=3, max_length=6), Words("full")),
    (SearchOptions(kind="beam", beam=20, max_length=7, block_ngram=2), Words("size", size=200)),
)


def key(decoded: Decoded) -> tuple[object, ...]:
    """All of a result, for comparison bit for bit."""
    return (decoded.replies, decoded.words, decoded.log_odds.tolist())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_result_is_the_same_alone_and_in_company(precision: Precision) -> None:
    model = make_model(1, vocabulary_size=300, num_fixed=140, width=37)
    messages, lengths = make_messages(2, 300, batch=64)
    alone = Engine(model, precision=precision, threads=1, known_words=200)
    company = Engine(model, precision=precision, threads=3, known_words=200)
    with company.session() as session:
        requests: list[int] = []
        for first in range(0, 64, 4):  # every kind of search, joining two steps after one another
            options, words = KINDS[first // 4 % len(KINDS)]
            seeds = range(first, first + 4)
            part = slice(first, first + 4)
            requests += session.add(
                messages[part], lengths[part], options, words, input_seeds=seeds
            )
            session.step()
            session.step()
        session.run()
        together = session.take(requests)
    for i in range(64):
        options, words = KINDS[i // 4 % len(KINDS)]
        length = int(lengths[i])
        found, _ = alone.decode(
            messages[i : i + 1, :length], lengths[i : i + 1], options, words, input_seeds=[i]
        )
        assert key(found[0]) == key(together[i])


def test_words_stream_as_the_replies_have_them() -> None:
    model = make_model(3, vocabulary_size=200, num_fixed=20, width=16)
    messages, lengths = make_messages(4, 200)
    options = SearchOptions(kind="sampling", num_best=2, max_length=10)
    words = Words("size", size=60)  # a word is not its slot
    with Engine(model, threads=1).session() as session:
        requests = session.add(messages, lengths, options, words)
        streamed: dict[tuple[int, int], list[int]] = {}
        while (step := session.step()).active:
            for request, reply, word in step.words:
                streamed.setdefault((request, reply), []).append(word)
        for request, reply, word in step.words:
            streamed.setdefault((request, reply), []).append(word)
        for request, decoded in zip(requests, session.take(requests), strict=True):
            replies = sorted(
                ([decoded.words[s] for s in r.slots] + [3] * r.finished for r in decoded.replies),
                key=str,
            )
            assert sorted((streamed[request, n] for n in range(2)), key=str) == replies


def test_a_stopped_request_keeps_its_words_and_a_cancelled_one_is_gone() -> None:
    model = make_model(5, vocabulary_size=200, num_fixed=20, width=16)
    messages, lengths = make_messages(6, 200)
    options = SearchOptions(kind="greedy", min_length=20, max_length=20)
    words = Words("size", size=60)
    expected, _ = plain(model, messages, lengths, options, words, list(range(5)))
    with Engine(model, threads=1).session() as session:
        requests = session.add(messages, lengths, options, words)
        for _ in range(4):
            session.step()
        assert session.cancel(requests[1]) and not session.cancel(requests[1])
        assert session.stop(requests[2]) and not session.stop(requests[2])
        assert session.step().ended == [requests[2]]
        session.run()
        with pytest.raises(ValueError, match="must have ended"):
            session.take([requests[1]])
        stopped = session.take([requests[2]])[0].replies[0]
        assert stopped.slots == expected[2][0].slots[:4] and not stopped.finished
        others = [0, 3, 4]
        for i, decoded in zip(others, session.take([requests[i] for i in others]), strict=True):
            assert decoded.replies[0].slots == expected[i][0].slots


def test_no_place_stays_taken_and_no_memory_grows() -> None:
    model = make_model(7, vocabulary_size=150, num_fixed=20, width=8)
    messages, lengths = make_messages(8, 150, batch=16)
    options, words = SearchOptions(kind="greedy", max_length=6), Words("size", size=60)
    chance = random.Random(0)
    waiting: list[int] = []
    ended = cancelled = 0
    rss = 0
    with Engine(model, threads=1).session() as session:
        for turn in range(10_000 // 16):
            waiting += session.add(messages, lengths, options, words)
            for request in chance.sample(waiting, 5):
                if session.cancel(request):
                    cancelled += 1
                    waiting.remove(request)
            done = session.step().ended
            session.take(done)
            ended += len(done)
            waiting = [request for request in waiting if request not in set(done)]
            if turn == 100:
                rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        session.run()
        last = session.step()
        assert last.active == 0 and last.ended == waiting
        session.take(waiting)
        ended += len(waiting)
        assert session.step().ended == []
    assert ended + cancelled == 10_000 // 16 * 16 and cancelled > 1_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss < 8_000  # KiB
