"""The compiled engine against the plain search, over random models, vocabularies and options."""

import pytest
import torch
from engine_toy import BATCH, make_messages, make_model, plain
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dvs2s.decoding.protocol import Hypothesis
from dvs2s.decoding.search import SearchOptions
from dvs2s.engine.engine import Engine, why_unavailable
from dvs2s.engine.results import Decoded
from dvs2s.engine.words import Words
from dvs2s.model import ModelSizes

pytestmark = pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable() or "there")

def assert_same(found: list[Decoded], expected: list[list[Hypothesis]], tolerance: float) -> None:
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert [r.slots for r in mine.replies] == [r.slots for r in theirs]
        assert [r.finished for r in mine.replies] == [r.finished for r in theirs]
        for a, b in zip(mine.replies, theirs, strict=True):
            assert a.score == pytest.approx(b.score, abs=tolerance)
            assert a.log_prob == pytest.approx(b.log_prob, abs=tolerance)
            assert a.token_log_probs == pytest.approx(b.token_log_probs, abs=tolerance)


@st.composite
def options_of_any_kind(draw: st.DrawFn) -> SearchOptions:
    kind = draw(st.sampled_from(["greedy", "beam", "sampling"]))
    beam = draw(st.integers(1, 14))
    most = {"greedy": 1, "beam": beam, "sampling": 4}[kind]
    max_length = draw(st.integers(1, 12))
    return SearchOptions(
        kind=kind,
        beam=beam,
        num_best=draw(st.integers(1, most)),
        length_penalty=draw(st.sampled_from([0.0, 0.6, 1.5])),
        min_length=draw(st.integers(0, max_length)),
        max_length=max_length,
        block_ngram=draw(st.integers(0, 3)),
        temperature=draw(st.sampled_from([0.3, 1.0, 2.0])),
        top_k=draw(st.sampled_from([0, 0, 3, 40])),
        top_p=draw(st.sampled_from([1.0, 1.0, 0.7])),
        seed=draw(st.integers(0, 5)),
    )


@st.composite
def words_of_any_rule(draw: st.DrawFn, sizes: ModelSizes) -> Words:
    rule = draw(st.sampled_from(["size", "threshold", "full"]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    total = sizes.vocabulary_size

    def some(share: float) -> Tensor | None:
        if draw(st.booleans()):
            return None
        return torch.rand(total, generator=generator) < share

    forbid = some(0.3)
    if forbid is not None:
        forbid[:5] = False
    penalty = None
    if rule == "size" and draw(st.booleans()):
        penalty = torch.randn(total - sizes.num_fixed, generator=generator)
    return Words(
        rule,
        size=draw(st.integers(sizes.num_fixed, total + 3)) if rule == "size" else 0,
        threshold=draw(st.sampled_from([0.2, 0.7])) if rule == "threshold" else 0.0,
        message_words=draw(st.booleans()),
        include=some(0.1),
        forbid=forbid,
        penalty=penalty,
    )


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_replies_are_those_of_the_plain_search(data: st.DataObject) -> None:
    fixed = data.draw(st.sampled_from([5, 9, 128, 140, 259]))
    model = make_model(
        data.draw(st.integers(0, 999)),
        vocabulary_size=fixed + data.draw(st.integers(1, 300)),
        num_fixed=fixed,
        width=data.draw(st.sampled_from([4, 15, 33])),
    )
    messages, lengths = make_messages(
        data.draw(st.integers(0, 999)), model.sizes.vocabulary_size
    )
    options = data.draw(options_of_any_kind())
    words = data.draw(words_of_any_rule(model.sizes))
    seeds = data.draw(st.lists(st.integers(0, 50), min_size=BATCH, max_size=BATCH))
    expected, vocab = plain(model, messages, lengths, options, words, seeds)
    threads = data.draw(st.integers(1, 3))
    engine = Engine(model, threads=threads)
    found, seconds = engine.decode(messages, lengths, options, words, input_seeds=seeds)
    assert [d.words for d in found] == [vocab.row(i) for i in range(BATCH)]
    assert_same(found, expected, 1e-3)
    assert set(seconds) == {"encode", "predict", "select", "search"}
