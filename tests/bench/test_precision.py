"""The report on precisions: its shares are what they say, and the command writes them."""

import numpy as np
import pytest
import torch

from dvs2s.bench import precision
from dvs2s.config import SearchConfig, TrainConfig
from dvs2s.data.corpus import PairCorpus
from dvs2s.model import Dvs2sModel, ModelSizes
from dvs2s.responder import Responder
from dvs2s.text.specials import SPECIALS
from dvs2s.text.vocabulary import Vocabulary

WORDS = tuple(a + b for a in "bdfgklmnprst" for b in "aeiou")
PAIRS = [([10, 20], [11, 30]), ([10, 20], [12]), ([40, 41, 42], [50, 13]), ([7], [60])]


def responder(seed: int) -> Responder:
    words = (*SPECIALS, *WORDS)
    counts = (0,) * len(SPECIALS) + tuple(range(len(WORDS), 0, -1))
    torch.manual_seed(seed)
    model = Dvs2sModel(
        ModelSizes(
            vocabulary_size=len(words),
            num_fixed=9,
            embedding_size=12,
            hidden_size=16,
            bag_size=8,
            predictor_size=8,
        )
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    config = TrainConfig(search=SearchConfig(size=30, beam=4, num_best=2, max_length=6))
    vocabulary = Vocabulary(words, counts, 9, "basic_english", sum(counts))
    return Responder(model, vocabulary, config, engine="plain")


def corpus() -> PairCorpus:
    sides = [side for pair in PAIRS for side in pair]
    offsets = np.concatenate([[0], np.cumsum([len(side) for side in sides])])
    return PairCorpus(np.concatenate(sides).astype(np.int32), offsets.astype(np.int64))


def test_shares_are_of_the_places_replies_and_words_that_agree() -> None:
    one, same, other = responder(0), responder(0), responder(1)
    done: list[int] = []
    report = precision.run(
        {"fp32": one, "bf16": same, "int8": other},
        corpus(),
        messages=3,
        search=one.search_config(),
        batch_size=2,
        advance=done.append,
    )
    assert report["messages"] == 3 and sum(done) == 2 * 3 * 3
    rows = {(row["search"], row["precision"]): row for row in report["rows"]}
    for kind in ("greedy", "beam"):
        for name in ("fp32", "bf16"):
            assert rows[kind, name]["same_tokens"] == rows[kind, name]["same_replies"] == 1
            assert rows[kind, name]["same_words"] == 1
        assert rows[kind, "bf16"]["metrics"] == rows[kind, "fp32"]["metrics"]
        messages = [" ".join(one.vocabulary.decode(m)) for m in ([10, 20], [40, 41, 42], [7])]
        config = one.search_config(kind=kind, num_best=1)
        pairs = list(
            zip(one.answers(messages, config), other.answers(messages, config), strict=True)
        )
        places = equal = held = 0
        for a, b in pairs:
            x, y = a.replies[0].tokens, b.replies[0].tokens
            places += max(len(x), len(y))
            equal += sum(p == q for p, q in zip(x, y, strict=False))
        row = rows[kind, "int8"]
        firsts = [
            sum(x[: i + 1] == y[: i + 1] for i in range(min(len(x), len(y))))
            for x, y in ((a.replies[0].tokens, b.replies[0].tokens) for a, b in pairs)
        ]
        whole = row["same_replies"] * 3
        assert row["same_choices"] == pytest.approx((sum(firsts) + whole) / (sum(firsts) + 3))
        assert row["same_tokens"] == pytest.approx(equal / places)
        assert row["same_replies"] == sum(
            a.replies[0].tokens == b.replies[0].tokens for a, b in pairs
        ) / len(pairs)
        said = [[11, 30, 12], [50, 13], [60]]
        for (_, answer), ids in zip(pairs, said, strict=True):
            admitted = {word.word for word in answer.vocabulary}
            held += sum(word in admitted for word in one.vocabulary.decode(ids))
        assert row["gold_words"] == pytest.approx(held / 6)
    text = precision.table(report)
    assert text.count("greedy") == text.count("beam") == 3 and "(+0.000)" in text


def test_a_report_needs_its_reference() -> None:
    one = responder(0)
    with pytest.raises(ValueError, match="responders must hold 'fp32'"):
        precision.run({"int8": one}, corpus(), messages=1, search=one.search_config())
