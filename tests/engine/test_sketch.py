"""Choosing words by sketches of the predictor's rows gives what reading all rows gives."""

import pytest
import torch
from engine_toy import make_messages
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dvs2s.decoding.options import SearchOptions
from dvs2s.dynamic_vocab import DynamicVocab, select_words
from dvs2s.engine.engine import Engine, Precision, why_unavailable
from dvs2s.engine.weights import sketch_directions
from dvs2s.engine.words import Words
from dvs2s.model import Dvs2sModel, ModelSizes

pytestmark = pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable() or "there")

FIXED, TOTAL, WIDTH = 40, 3_003, 150  # odd counts: blocks and tasks that are not full


def skewed_model(seed: int, *, skew: float) -> Dvs2sModel:
    """A model whose predictor prefers some words, and some directions, as trained ones do.

    With more skew a sketch says more: at 0.5 it leaves out hardly a word, at 2 most of them.
    """
    torch.manual_seed(seed)
    model = Dvs2sModel(
        ModelSizes(
            vocabulary_size=TOTAL,
            num_fixed=FIXED,
            embedding_size=6,
            hidden_size=5,
            bag_size=30,
            predictor_size=WIDTH,
        )
    ).eval()
    predictor = model.word_predictor
    with torch.no_grad():
        stretch = 1.0 / torch.arange(1, WIDTH + 1) ** skew
        predictor.output.weight.copy_(torch.randn(TOTAL - FIXED, WIDTH) * stretch)
        predictor.output.bias.copy_(torch.randn(TOTAL - FIXED) - 3.0)
        predictor.hidden.weight.normal_(std=4.0)
        predictor.repetition.normal_(std=3.0)
    assert sketch_directions(predictor.output.weight).shape == (64, WIDTH)
    return model


MODELS = [skewed_model(seed, skew=skew) for seed, skew in enumerate((0.5, 1.0, 2.0))]


@st.composite
def words_by_rank(draw: st.DrawFn) -> Words:
    rule = draw(st.sampled_from(["size", "threshold"]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    penalty = torch.randn(TOTAL - FIXED, generator=generator) * draw(st.sampled_from([1.0, 9.0]))
    include = torch.rand(TOTAL, generator=generator) < draw(st.sampled_from([0.01, 0.3]))
    return Words(
        rule,
        size=FIXED + draw(st.sampled_from([0, 1, 17, 45, 300, 700, 2_900]))
        if rule == "size"
        else 0,
        threshold=draw(st.sampled_from([0.05, 0.3, 0.9])) if rule == "threshold" else 0.0,
        message_words=draw(st.booleans()),
        penalty=penalty if rule == "size" and draw(st.booleans()) else None,
        include=include if draw(st.booleans()) else None,
    )


def chosen(model: Dvs2sModel, messages: Tensor, lengths: Tensor, words: Words) -> DynamicVocab:
    include = torch.zeros(len(messages), TOTAL, dtype=torch.bool)
    if words.message_words:
        include.scatter_(1, messages, True)
    if words.include is not None:
        include |= words.include
    with torch.inference_mode():
        return select_words(
            model.predict_words(model.encode(messages, lengths)),
            num_fixed=FIXED,
            size=words.size if words.rule == "size" else None,
            threshold=words.threshold if words.rule == "threshold" else None,
            penalty=words.penalty,
            include=include,
        )


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(MODELS), st.integers(0, 999), st.sampled_from([1, 2, 15]), words_by_rank())
def test_float32_chooses_the_same_words(
    model: Dvs2sModel, seed: int, batch: int, words: Words
) -> None:
    messages, lengths = make_messages(seed, TOTAL, batch=batch)
    found, _ = Engine(model, threads=1 + seed % 2).decode(
        messages, lengths, SearchOptions(kind="greedy", max_length=1), words
    )
    vocab = chosen(model, messages, lengths, words)
    assert [d.words for d in found] == [vocab.row(i) for i in range(batch)]
    with torch.inference_mode():
        odds = model.predict_words(model.encode(messages, lengths))
    for i, decoded in enumerate(found):
        content = [word - FIXED for word in decoded.words if word >= FIXED]
        assert decoded.log_odds == pytest.approx(odds[i, content].numpy(), abs=1e-3)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_other_precisions_choose_nearly_the_same_words(
    precision: Precision, model: Dvs2sModel
) -> None:
    messages, lengths = make_messages(1, TOTAL, batch=20)
    words = Words("size", size=FIXED + 300)
    options = SearchOptions(kind="greedy", max_length=1)
    found, _ = Engine(model, precision=precision, threads=1).decode(
        messages, lengths, options, words
    )
    vocab = chosen(model, messages, lengths, words)
    for i, decoded in enumerate(found):
        assert len(decoded.words) == FIXED + 300
        assert len(set(decoded.words) - set(vocab.row(i))) <= 6


def test_words_do_not_depend_on_the_company() -> None:
    messages, lengths = make_messages(2, TOTAL, batch=30)
    options = SearchOptions(kind="greedy", max_length=1)
    for precision in ("fp32", "int8"):
        engine = Engine(MODELS[1], precision=precision, threads=1)  # type: ignore[arg-type]
        words = Words("size", size=FIXED + 100)
        together, _ = engine.decode(messages, lengths, options, words)
        for i in range(0, 30, 7):
            own = messages[i : i + 1, : int(lengths[i])]
            alone, _ = engine.decode(own, lengths[i : i + 1], options, words)
            assert alone[0].words == together[i].words
            assert alone[0].log_odds.tolist() == together[i].log_odds.tolist()


def test_directions_are_the_rows_own() -> None:
    rows = torch.randn(5_000, 3) @ torch.randn(3, 200)
    directions = sketch_directions(rows)
    assert torch.allclose(directions @ directions.T, torch.eye(64), atol=1e-4)
    assert torch.allclose(rows @ directions.T @ directions, rows, atol=1e-3)
    assert sketch_directions(rows[:100]).shape == (0, 200)
    assert sketch_directions(rows[:, :100]).shape == (0, 100)
    assert sketch_directions(rows * float("nan")).shape == (0, 200)
