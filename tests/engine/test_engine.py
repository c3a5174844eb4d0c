"""The compiled engine against the plain search, over random models, vocabularies and options."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engine_toy import BATCH, make_messages, make_model, plain
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dvs2s.decoding.protocol import Hypothesis
from dvs2s.decoding.search import SearchOptions
from dvs2s.decoding.session import Session
from dvs2s.dynamic_vocab import DynamicVocab
from dvs2s.engine.engine import Engine, Precision, why_unavailable
from dvs2s.engine.results import Decoded
from dvs2s.engine.words import Words
from dvs2s.model import Dvs2sModel, ModelSizes

pytestmark = pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable() or "there")


def assert_same(found: list[Decoded], expected: list[list[Hypothesis]]) -> None:
    """Equal replies; where two scores differ by rounding alone, either order will do."""
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert len(mine.replies) == len(theirs)
        for a, b in zip(mine.replies, theirs, strict=True):
            if a.slots != b.slots:
                assert a.score == pytest.approx(b.score, abs=1e-5), "another reply, not a tie"
                continue
            assert a.finished == b.finished
            assert a.score == pytest.approx(b.score, abs=1e-3)
            assert a.log_prob == pytest.approx(b.log_prob, abs=1e-3)
            assert a.token_log_probs == pytest.approx(b.token_log_probs, abs=1e-3)


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


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_replies_are_those_of_the_plain_search(data: st.DataObject) -> None:
    fixed = data.draw(st.sampled_from([5, 9, 128, 140, 259]))
    model = make_model(
        data.draw(st.integers(0, 999)),
        vocabulary_size=fixed + data.draw(st.integers(1, 300)),
        num_fixed=fixed,
        width=data.draw(st.sampled_from([4, 15, 33])),
    )
    messages, lengths = make_messages(data.draw(st.integers(0, 999)), model.sizes.vocabulary_size)
    options = data.draw(options_of_any_kind())
    words = data.draw(words_of_any_rule(model.sizes))
    seeds = data.draw(st.lists(st.integers(0, 50), min_size=BATCH, max_size=BATCH))
    expected, vocab = plain(model, messages, lengths, options, words, seeds)
    threads = data.draw(st.integers(1, 3))
    known = data.draw(st.sampled_from([0, fixed + 1, None]))
    engine = Engine(model, threads=threads, known_words=known)
    found, seconds = engine.decode(messages, lengths, options, words, input_seeds=seeds)
    assert [d.words for d in found] == [vocab.row(i) for i in range(BATCH)]
    assert_same(found, expected)
    assert set(seconds) == {"encode", "predict", "select", "search"}


def score_again(
    model: Dvs2sModel, messages: Tensor, lengths: Tensor, found: list[Decoded]
) -> list[list[float]]:
    """The plain model's log-probabilities of the words of each message's first reply."""
    scored = []
    for i, decoded in enumerate(found):
        length = lengths[i : i + 1]
        vocab = DynamicVocab(
            torch.tensor([decoded.words]),
            torch.tensor([len(decoded.words)]),
            model.sizes.vocabulary_size,
        )
        with torch.inference_mode():
            session = Session(
                model, model.encode(messages[i : i + 1, : int(length)], length), vocab
            )
            log_probs, state = session.start()
            values = []
            for slot in decoded.replies[0].slots:
                values.append(float(log_probs[0, 0, slot]))
                log_probs, state = session.step(torch.tensor([[slot]]), state)
            if decoded.replies[0].finished:
                values.append(float(log_probs[0, 0, 3]))
        scored.append(values)
    return scored


@pytest.mark.parametrize("known", [0, 200, None])
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.05), ("int8", 0.1)]
)
def test_log_probabilities_are_the_models_in_every_precision(
    precision: Precision, tolerance: float, known: int | None
) -> None:
    torch.manual_seed(1)
    sizes = ModelSizes(
        vocabulary_size=400,
        num_fixed=150,
        embedding_size=96,
        hidden_size=128,
        bag_size=48,
        predictor_size=64,
    )
    model = Dvs2sModel(sizes).eval()
    with torch.no_grad():  # rows of different sizes: each has a scale of its own in int8
        for rows in (model.output.projection.weight, model.word_predictor.output.weight):
            rows.mul_(torch.rand(len(rows), 1) * 1.5 + 0.1)
    messages, lengths = make_messages(3, 400, batch=20)
    engine = Engine(model, precision=precision, threads=1, known_words=known)
    for kind in ("greedy", "beam"):
        options = SearchOptions(kind=kind, beam=8, max_length=10)  # type: ignore[arg-type]
        found, _ = engine.decode(messages, lengths, options, Words("size", size=250))
        for decoded, values in zip(
            found, score_again(model, messages, lengths, found), strict=True
        ):
            assert decoded.replies[0].token_log_probs == pytest.approx(values, abs=tolerance)
    with torch.inference_mode():
        odds = model.predict_words(model.encode(messages, lengths))
    for i, decoded in enumerate(found):
        content = [word - 150 for word in decoded.words if word >= 150]
        assert decoded.log_odds == pytest.approx(odds[i, content].numpy(), abs=tolerance)


_OTHER_SET = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
from engine_toy import make_messages, make_model
from dvs2s.decoding.search import SearchOptions
from dvs2s.engine.engine import Engine
from dvs2s.engine.words import Words

model = make_model(1, vocabulary_size=400, num_fixed=150, width=37)
messages, lengths = make_messages(2, 400, batch=8)
found = []
for precision in ("fp32", "bf16", "int8"):
    engine = Engine(model, precision=precision, threads=2)
    for kind in ("greedy", "beam"):
        options = SearchOptions(kind=kind, beam=14, max_length=8)
        decoded, _ = engine.decode(messages, lengths, options, Words("size", size=300))
        found.append([[d.replies[0].slots, d.replies[0].token_log_probs] for d in decoded])
print(torch.ops.dvs2s.engine_isa())
print(json.dumps(found))
"""


def test_every_instruction_set_decodes_alike() -> None:
    found = {}
    for isa in ("portable", "avx2", "avx512"):
        run = subprocess.run(
            [sys.executable, "-c", _OTHER_SET, str(Path(__file__).parent)],
            env={**os.environ, "DVS2S_CPU_ISA": isa},
            capture_output=True,
            text=True,
            timeout=120,
        )
        if "this processor lacks it" in run.stderr:
            continue
        assert run.returncode == 0, run.stderr
        name, results = run.stdout.splitlines()
        found[name] = json.loads(results)
    assert "portable" in found
    same = total = 0
    for name, results in found.items():
        for one, other in zip(results, found["portable"], strict=True):
            for (slots, values), (other_slots, other_values) in zip(one, other, strict=True):
                total += 1
                if slots == other_slots:
                    same += 1
                    assert values == pytest.approx(other_values, abs=0.05), name
    assert same > 0.9 * total


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": Words("size", size=8)}, "size must be at least the 9 special"),
        ({"words": Words("size", size=20, penalty=torch.zeros(3))}, "penalty must be"),
        ({"lengths": torch.tensor([0, 1])}, "lengths must lie in 1..2, got 0"),
        ({"messages": torch.full((2, 2), 60)}, "messages must lie in 0..59, got 60"),
        ({"input_seeds": [1]}, "input_seeds must hold one seed for each of 2"),
        ({"input_seeds": [1, -1]}, "input_seeds must be at least 0"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, object], message: str) -> None:
    engine = Engine(make_model(0, vocabulary_size=60, num_fixed=9, width=8), threads=1)
    arguments: dict[str, object] = {
        "messages": torch.full((2, 2), 7),
        "lengths": torch.tensor([2, 1]),
        "options": SearchOptions(kind="sampling"),
        "words": Words("size", size=20),
    } | change
    with pytest.raises(ValueError, match=message):
        engine.decode(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["threads", "known_words"])
def test_numbers_of_a_new_engine_are_checked(name: str) -> None:
    model = make_model(0, vocabulary_size=60, num_fixed=9, width=8)
    with pytest.raises(ValueError, match=f"{name} must be at least 0.*got -1"):
        Engine(model, **{name: -1})  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["decoder.state_gates.weight", "output.projection.bias"])
def test_a_model_that_gives_no_numbers_is_refused(place: str) -> None:
    """Be it in all of them, or in one word's alone."""
    model = make_model(0, vocabulary_size=60, num_fixed=9, width=8)
    with torch.no_grad():
        model.get_parameter(place)[7] = float("nan")
    messages, lengths = make_messages(0, 60)
    for precision in ("fp32", "bf16", "int8"):
        engine = Engine(model, precision=precision, threads=1)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="log_probs must be free of NaN"):
            engine.decode(messages, lengths, SearchOptions(), Words("size", size=20))


def test_large_attention_does_not_overflow() -> None:
    model = make_model(0, vocabulary_size=60, num_fixed=9, width=8)
    with torch.no_grad():
        model.decoder.attention.query.weight.mul_(100.0)
        model.decoder.attention.key.weight.mul_(100.0)
    messages, lengths = make_messages(0, 60)
    options, words = SearchOptions(beam=5, max_length=8), Words("size", size=40)
    expected, _ = plain(model, messages, lengths, options, words, list(range(BATCH)))
    found, _ = Engine(model, threads=1).decode(messages, lengths, options, words)
    assert_same(found, expected)


def test_the_papers_widths_give_the_same_replies() -> None:
    torch.manual_seed(0)
    sizes = ModelSizes(
        vocabulary_size=2_000,
        num_fixed=200,
        embedding_size=620,
        hidden_size=1_024,
        bag_size=620,
        predictor_size=1_024,
    )
    model = Dvs2sModel(sizes).eval()
    messages, lengths = make_messages(1, 2_000, batch=2)
    options, words = SearchOptions(beam=6, max_length=5), Words("size", size=500)
    expected, _ = plain(model, messages, lengths, options, words, [0, 1])
    found, _ = Engine(model, threads=2).decode(messages, lengths, options, words)
    assert_same(found, expected)
