"""Every metric against what other people's implementations said of the same replies.

``oracles/record.py`` made the files, with libraries that are not needed here; each file names them.
"""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dvs2s.annotation.agreement import fleiss_kappa
from dvs2s.evaluation.bleu import bleu
from dvs2s.evaluation.characters import as_characters, is_mostly_han
from dvs2s.evaluation.diversity import (
    distinct_per_ngram,
    distinct_per_token,
    generic_share,
    unique_replies,
)
from dvs2s.evaluation.embeddings import WordVectors, embedding_scores
from dvs2s.evaluation.entropy import unigram_entropy
from dvs2s.evaluation.measures import CorpusBleu, Distinct, Generic, Ratio, Unique, mean_of
from dvs2s.evaluation.resampling import estimates

ORACLES = Path(__file__).parent / "oracles"
CLOSE = 1e-6


def oracle(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ORACLES / f"{name}.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(params=["smalltalk", "drawn"], scope="module")
def said(request: pytest.FixtureRequest) -> dict[str, Any]:
    return oracle(request.param)


def orders(replies: Any, references: Any) -> list[float]:
    found = bleu(replies, references)
    scores = [found.bleu1, found.bleu2, found.bleu3, found.bleu4]
    ones = np.ones((1, len(replies)))
    for n, score in enumerate(scores, 1):  # the form that is resampled gives the same
        resampled = CorpusBleu(replies, references, order=n).values(ones)[0]
        assert resampled == pytest.approx(score, abs=CLOSE)
    return scores


def test_every_file_says_where_it_is_from() -> None:
    for path in sorted(ORACLES.glob("*.json")):
        provenance = json.loads(path.read_text(encoding="utf-8"))["provenance"]
        assert provenance["made_by"] and {"nltk", "scipy"} <= set(provenance["versions"])
    assert len(list(ORACLES.glob("*.json"))) == 5


def test_the_replies_hold_what_is_hard(said: dict[str, Any]) -> None:
    lengths = Counter(map(len, said["replies"]))
    assert lengths[0] and lengths[1] and max(lengths) >= 9
    assert len(set(map(tuple, said["replies"]))) < len(said["replies"])
    unknown = [w for reply in said["replies"] for w in reply if w not in said["vectors"]]
    assert unknown


def test_bleu_is_sacrebleus_with_empty_and_short_replies(said: dict[str, Any]) -> None:
    theirs = said["sacrebleu"]
    scores = orders(said["replies"], said["references"])
    assert scores == pytest.approx(theirs["orders"], abs=CLOSE)
    assert scores[3] == pytest.approx(theirs["command"], abs=CLOSE)
    ours = bleu(said["replies"], said["references"]).signature
    assert ours.split("|version")[0] == theirs["signature"].split("|version")[0]


def test_bleu_is_nltks_where_no_reply_is_shorter_than_its_orders(said: dict[str, Any]) -> None:
    places = said["nltk"]["places"]
    replies, references = said["replies"], said["references"]
    scores = orders([replies[i] for i in places], [references[i] for i in places])
    assert scores == pytest.approx(said["nltk"]["corpus"], abs=CLOSE)
    for one in said["nltk"]["sentences"]:
        alone = orders([replies[one["place"]]], [references[one["place"]]])
        assert alone == pytest.approx(one["bleu"], abs=CLOSE)
    assert len(said["nltk"]["sentences"]) >= 3


def test_embeddings_are_the_published_formulas(said: dict[str, Any]) -> None:
    vectors = WordVectors(list(said["vectors"]), np.array(list(said["vectors"].values())), "drawn")
    first = [group[:1] for group in said["references"]]
    scores = embedding_scores(said["replies"], first, vectors)
    for one in said["embeddings"]:
        place = one["place"]
        actual = [scores.average[place], scores.extrema[place], scores.greedy[place]]
        expected = [math.nan if value is None else value for value in one["scores"]]
        assert actual == pytest.approx(expected, abs=CLOSE, nan_ok=True)
    whole = [[v for v in column if v is not None] for column in
             zip(*(one["scores"] for one in said["embeddings"]), strict=True)]  # fmt: skip
    ones = np.ones((1, len(first)))
    for mine, theirs in zip((scores.average, scores.extrema, scores.greedy), whole, strict=True):
        assert mean_of(mine).values(ones)[0] == pytest.approx(np.mean(theirs), abs=CLOSE)


def test_variety_and_entropy(said: dict[str, Any]) -> None:
    replies, theirs = said["replies"], said["variety"]
    ones = np.ones((1, len(replies)))
    for n in (1, 2, 3):
        assert distinct_per_ngram(replies, n) == pytest.approx(
            theirs["distinct_per_ngram"][n - 1], abs=CLOSE
        )
        per_token = theirs["distinct_per_token"][n - 1]
        assert distinct_per_token(replies, n) == pytest.approx(per_token, abs=CLOSE)
        assert Distinct(replies, n=n).values(ones)[0] == pytest.approx(per_token, abs=CLOSE)
    assert unique_replies(replies) == pytest.approx(theirs["unique"], abs=CLOSE)
    assert Unique(replies).values(ones)[0] == pytest.approx(theirs["unique"], abs=CLOSE)
    assert generic_share(replies) == pytest.approx(theirs["generic"], abs=CLOSE)
    assert Generic(replies).values(ones)[0] == pytest.approx(theirs["generic"], abs=CLOSE)
    scores = unigram_entropy(replies, Counter(w for reply in said["training"] for w in reply))
    word, reply = Ratio(scores.bits, scores.words), Ratio(scores.bits, ones[0])
    assert word.values(ones)[0] == pytest.approx(theirs["entropy_word"], abs=CLOSE)
    assert reply.values(ones)[0] == pytest.approx(theirs["entropy_reply"], abs=CLOSE)


def test_a_paired_bootstrap_is_no_surer_than_sacrebleus(said: dict[str, Any]) -> None:
    theirs, replies, references = said["paired"], said["replies"], said["references"]
    shifted = replies[1:] + replies[:1]
    systems = {
        name: [CorpusBleu(some, references, order=4)]
        for name, some in (("base", shifted), ("other", replies))
    }
    number = theirs["resamples"]
    found = estimates(systems, len(replies), baseline="base", num_resamples=number)
    values = [found["base"].value, found["other"].value]
    assert values == pytest.approx(theirs["scores"], abs=CLOSE)
    # theirs counts |d*| - mean |d*| above |d|, which is below the two-sided p-value of |d* - mean|
    ours = found["other"].p_value or 0
    error = math.sqrt(2 * theirs["p_value"] * (1 - theirs["p_value"]) / number)
    assert ours >= theirs["p_value"] - 4 * error


def test_characters_are_cut_as_sacrebleu_cuts_chinese() -> None:
    content = oracle("chinese")
    replies, references = content["replies"], content["references"]
    assert is_mostly_han([r for group in references for r in group])
    said = [as_characters(reply) for reply in replies]
    wanted = [[as_characters(r) for r in group] for group in references]
    scores = orders(said, wanted)
    assert scores == pytest.approx(content["sacrebleu"]["orders"], abs=CLOSE)
    assert scores[3] == pytest.approx(content["sacrebleu"]["command"], abs=CLOSE)
    assert orders(replies, references)[0] < scores[0]  # words are fewer and match less often
    assert as_characters(["5G手机", "wifi", "，"]) == ["5G", "手", "机", "wifi", "，"]
    assert not is_mostly_han([["我", "a", "b"]]) and not is_mostly_han([])


def test_kappa_is_that_of_statsmodels() -> None:
    tables = oracle("kappa")["tables"]
    for table in tables:
        assert fleiss_kappa(table["counts"]) == pytest.approx(table["kappa"], abs=CLOSE)
    assert len(tables) == 4


def test_intervals_are_scipys_around_the_value() -> None:
    content = oracle("bootstrap")
    scores, words, bits = (np.array(content[name]) for name in ("scores", "words", "bits"))
    for name, measure in (("mean", mean_of(scores)), ("ratio", Ratio(bits, words))):
        theirs = content[name]
        found = estimates({"a": [measure]}, len(scores), num_resamples=content["resamples"])["a"]
        # ours lie around the value, scipy's percentiles around the resamples' mean
        shift = found.value - theirs["mean"]
        assert found.low == pytest.approx(theirs["low"] + shift, abs=CLOSE)
        assert found.high == pytest.approx(theirs["high"] + shift, abs=CLOSE)
    systems = {"a": [mean_of(scores)], "b": [mean_of(np.array(content["better"]))]}
    number = content["resamples"]
    paired = estimates(systems, len(scores), baseline="a", num_resamples=number)["b"]
    assert paired.p_value == pytest.approx(content["difference"]["p_value"], abs=CLOSE)
    assert paired.p_value == pytest.approx(content["t_test"], abs=0.05)  # theory, not draws
