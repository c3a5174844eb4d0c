"""The price of generic replies: what it chooses, and the share that it keeps."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs2s.answer import AdmittedWords, Answer, Reply
from dvs2s.coverage.generic import (
    GenericBound,
    margin,
    most_frequent,
    price_for_share,
)

WORDS = "abcdefgh"


def answer_of(scores: dict[str, float]) -> Answer:
    replies = [Reply(w, (w,), score, score, True) for w, score in scores.items()]
    replies.sort(key=lambda reply: -reply.score)
    return Answer(tuple(replies), AdmittedWords((), 9))


LISTS = st.dictionaries(st.sampled_from(WORDS), st.integers(-9, 0), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(LISTS, st.sets(st.sampled_from(WORDS), min_size=1), st.sampled_from([0.0, 1.0, 2.5, 7.0]))
def test_a_reply_is_generic_exactly_above_the_price(
    scores: dict[str, int], generic: set[str], price: float
) -> None:
    answer = answer_of({word: float(score) for word, score in scores.items()})
    bound = GenericBound(frozenset((word,) for word in generic), {}, {}, 0)
    ranked = bound.ranked(answer, price, 3)
    assert (ranked.replies[0].tokens in bound.replies) == (margin(answer, bound.replies) > price)
    assert len(ranked.replies) == min(3, len(scores))
    charged = {word: score - price * (word in generic) for word, score in scores.items()}
    found = [reply.score for reply in ranked.replies]
    assert found == sorted(charged.values(), reverse=True)[: len(found)]
    assert all(reply.score == charged[reply.text] for reply in ranked.replies)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(LISTS, min_size=2, max_size=25),
    st.sets(st.sampled_from(WORDS), min_size=1, max_size=3),
    st.sampled_from([0.05, 0.1, 0.25, 0.5]),
)
def test_each_of_exchangeable_messages_keeps_the_share(
    lists: list[dict[str, int]], generic: set[str], share: float
) -> None:
    answers = [answer_of({w: float(s) for w, s in scores.items()}) for scores in lists]
    replies = frozenset((word,) for word in generic)
    margins = [margin(answer, replies) for answer in answers]
    generic_best = kept = 0
    for i, answer in enumerate(answers):
        price = price_for_share(margins[:i] + margins[i + 1 :], share)
        if price is None:
            continue  # no price is enough, and the caller is told
        kept += 1
        best = GenericBound(replies, {}, {}, 0).ranked(answer, price, 1).replies[0]
        generic_best += best.tokens in replies
        assert price >= 0
    assert generic_best <= share * len(answers) + 1e-9
    if all(m < math.inf for m in margins) and len(answers) * share >= 1:
        assert kept == len(answers)


def test_prices_by_hand() -> None:
    margins = [-math.inf, -2.0, -1.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert price_for_share(margins, 0.1) == 5.0  # 9 + 1 messages: one may be generic
    assert price_for_share(margins, 0.4) == 2.0
    assert price_for_share(margins, 0.75) == 0.0  # the bound holds without a price
    assert price_for_share(margins, 0.05) is None
    assert price_for_share([*margins, math.inf], 0.1) is None
    assert price_for_share([*margins, math.inf], 0.2) == 5.0


def test_the_most_frequent_and_what_is_not_there() -> None:
    answers = [answer_of({w: 0.0}) for w in "aabbbc"]
    assert most_frequent(answers, 2) == {("a",), ("b",)}
    bound = GenericBound(frozenset(), {0.1: 2.0, 0.01: None}, {"beam": 4}, 9)
    assert bound.price(0.1, {"beam": 4, "size": 3}) == 2.0
    with pytest.raises(ValueError, match="with search.beam=4, got 5: search so, or run"):
        bound.price(0.1, {"beam": 5})
    with pytest.raises(ValueError, match="one of 0.1, 0.01, got 0.2: run"):
        bound.price(0.2, {"beam": 4})
    with pytest.raises(ValueError, match="generic_share=0.01 cannot be kept"):
        bound.price(0.01, {"beam": 4})
    assert np.isfinite(margin(answers[0], frozenset())) is np.False_
