"""BLEU against an independent implementation, sacrebleu itself and torchtext."""

import math
import random
from collections import Counter

import pytest
import sacrebleu
from torchtext.data.metrics import bleu_score

from dvs2s.evaluation.bleu import bleu


def plain_bleu(replies, references, order):
    """BLEU as Papineni et al. define it; only for sets in which all orders match."""
    log_precisions, reply_length, reference_length = [], 0, 0
    for n in range(1, order + 1):
        matches = total = 0
        for reply, group in zip(replies, references, strict=True):
            counts = ngrams_of(reply, n)
            most = Counter()
            for reference in group:
                most |= ngrams_of(reference, n)
            matches += (counts & most).total()
            total += counts.total()
        log_precisions.append(math.log(matches / total))
    for reply, group in zip(replies, references, strict=True):
        reply_length += len(reply)
        lengths = [len(reference) for reference in group]
        reference_length += min(lengths, key=lambda n: (abs(n - len(reply)), n))
    brevity = min(1.0, math.exp(1 - reference_length / reply_length))
    return 100 * brevity * math.exp(sum(log_precisions) / order)


def ngrams_of(tokens, n):
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def noisy_set(seed, num_references):
    """Replies that share most words with their references."""
    chance = random.Random(seed)
    words = ["<unk>", "I'm", ".", "我", "the", "cat", "sat", "&", "on", "mat"]
    replies, references = [], []
    for _ in range(50):
        base = [chance.choice(words) for _ in range(chance.randint(1, 12))]
        noisy = [[w if chance.random() < 0.8 else chance.choice(words) for w in base][: 11 - drop]
                 for drop in range(num_references + 1)]  # fmt: skip
        replies.append(noisy[0])
        references.append(noisy[1:])
    return replies, references


@pytest.mark.parametrize("num_references", [1, 3])
def test_equals_the_definition_and_torchtext(num_references):
    replies, references = noisy_set(num_references, num_references)
    scores = bleu(replies, references)
    actual = [scores.bleu1, scores.bleu2, scores.bleu3, scores.bleu4]
    expected = [plain_bleu(replies, references, order) for order in (1, 2, 3, 4)]
    assert actual == pytest.approx(expected, abs=1e-9)
    for order, value in enumerate(actual, start=1):
        theirs = bleu_score(replies, references, max_n=order, weights=[1 / order] * order)
        assert value == pytest.approx(100 * theirs, abs=1e-4)
    assert scores.signature == (
        f"nrefs:{num_references}|case:mixed|eff:no|tok:none|smooth:exp|version:{sacrebleu.__version__}"
    )


def test_hand_computed():
    scores = bleu([["the", "the", "cat"]], [[["the", "cat", "sat", "here"]]])
    brevity = math.exp(1 - 4 / 3)
    assert scores.brevity == pytest.approx(brevity)
    assert scores.bleu1 == pytest.approx(100 * brevity * 2 / 3)
    assert scores.bleu2 == pytest.approx(100 * brevity * math.sqrt(2 / 3 * 1 / 2))
    # No trigram matches: smoothed to half a match of one. No 4-gram was tried: 0.
    assert scores.bleu3 == pytest.approx(100 * brevity * (2 / 3 * 1 / 2 * 1 / 2) ** (1 / 3))
    assert scores.bleu4 == 0.0


def test_orders_without_matches_are_those_of_a_shorter_run():
    replies = [["a", "b", "x", "c", "y"], ["a", "z", "b"]]
    references = [[["a", "b", "c", "d", "e"]], [["b", "a"]]]
    scores = bleu(replies, references)
    for order, value in enumerate([scores.bleu1, scores.bleu2, scores.bleu3, scores.bleu4], 1):
        metric = sacrebleu.BLEU(tokenize="none", force=True, max_ngram_order=order)
        theirs = metric.corpus_score([" ".join(reply) for reply in replies],
                                     [[" ".join(group[0]) for group in references]])  # fmt: skip
        assert value == pytest.approx(theirs.score, abs=1e-9)


def test_numbers_of_references_may_differ():
    scores = bleu([["a", "b"], ["c"]], [[["a", "b"]], [["x"], ["c"]]])
    assert scores.bleu1 == pytest.approx(100.0)
    assert "nrefs:var" in scores.signature


def test_empty_replies_and_empty_lists():
    nothing = bleu([], [])
    assert list(nothing.as_metrics().values()) == [0.0] * 5
    assert nothing.signature.startswith("nrefs:1|")
    assert list(bleu([[], []], [[["a"]], [["b"]]]).as_metrics().values()) == [0.0] * 5
    assert bleu([["a"]], [[["b"]]]).bleu1 == 0.0
    # An empty reply costs brevity only.
    half = bleu([["a", "b"], []], [[["a", "b"]], [["c", "d"]]])
    assert half.bleu1 == pytest.approx(100 * math.exp(1 - 4 / 2))


@pytest.mark.parametrize(
    ("replies", "references", "message"),
    [
        ([["a"]], [], "references must be as many as the 1 replies, got 0"),
        ([["a"], ["b"]], [[["a"]], []], "references must not be empty, got none for reply 1"),
        ([["a b"]], [[["a"]]], "tokens must be neither empty nor hold white space"),
        ([["a"]], [[[""]]], "tokens must be neither empty nor hold white space"),
        (["a b"], [[["a"]]], "must be lists of tokens, got the string 'a b'"),
        ([["a"]], [["a"]], "must be lists of tokens, got the string 'a'"),
    ],
)
def test_bad_input_is_refused(replies, references, message):
    with pytest.raises(ValueError, match=message):
        bleu(replies, references)
