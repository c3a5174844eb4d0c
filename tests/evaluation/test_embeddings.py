"""Embedding metrics against a plain computation, the published formulas, and by hand."""

import json
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs2s.errors import DataError, Dvs2sError
from dvs2s.evaluation.embeddings import WordVectors, embedding_scores
from dvs2s.evaluation.vectors import read_vectors, train_vectors
from dvs2s.paths import embedded_corpus

WORDS = [f"w{i}" for i in range(30)]


def random_vectors(seed, width=7):
    chance = random.Random(seed)
    # anisotropic and of different lengths, as trained vectors are
    return {w: [chance.gauss(0.4, 1) * (1 + i % 5) for _ in range(width)]
            for i, w in enumerate(WORDS)}  # fmt: skip


def plain_scores(reply, reference, vectors):
    """The definitions, word by word and dimension by dimension; None where not scored."""

    def unit(v):
        length = math.sqrt(sum(x * x for x in v))
        return [x / length for x in v]

    def cosine(a, b):
        norm = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
        return sum(x * y for x, y in zip(a, b, strict=True)) / norm if norm else 0.0

    def extreme(values):
        return min(values) if abs(min(values)) > max(values) else max(values)

    said = [unit(vectors[w]) for w in reply if w in vectors]
    wanted = [unit(vectors[w]) for w in reference if w in vectors]
    if not wanted:
        return None
    if not said:
        return 0.0, 0.0, 0.0

    def greedy(one, other):
        return sum(max(0.0, *(cosine(a, b) for b in other)) for a in one) / len(one)

    sums = [[sum(column) for column in zip(*side, strict=True)] for side in (said, wanted)]
    ends = [[extreme(column) for column in zip(*side, strict=True)] for side in (said, wanted)]
    both = (greedy(said, wanted) + greedy(wanted, said)) / 2
    return cosine(*sums), cosine(*ends), both


sentences = st.lists(st.sampled_from([*WORDS, "unknown", "<unk>"]), max_size=8)


@given(st.integers(0, 50), st.lists(st.tuples(sentences, sentences, sentences), max_size=4))
def test_equals_a_plain_computation(seed, triples):
    vectors = random_vectors(seed)
    ours = WordVectors(list(vectors), np.array(list(vectors.values())), "random")
    replies = [reply for reply, _, _ in triples]
    scores = embedding_scores(replies, [[a, b] for _, a, b in triples], ours)
    for i, (reply, *references) in enumerate(triples):
        singles = [plain_scores(reply, r, vectors) for r in references]
        singles = [single for single in singles if single is not None]
        actual = [scores.average[i], scores.extrema[i], scores.greedy[i]]
        expected = [max(column) for column in zip(*singles, strict=True)] or [math.nan] * 3
        assert actual == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert scores.num_scored == int(sum(not math.isnan(value) for value in scores.average))


def test_equals_a_plain_computation_on_sentences_of_the_embedded_corpus():
    topics = sorted(embedded_corpus().glob("*.json"))[:6]
    said = [json.loads(topic.read_text(encoding="utf-8"))["replies"] for topic in topics]
    sentences = [[text.lower().split() for text in replies] for replies in said]
    words = sorted({word for group in sentences for sentence in group for word in sentence})
    chance = np.random.default_rng(0)
    known = {word: chance.normal(0.3, 1, 20).tolist() for word in words if chance.random() < 0.9}
    vectors = WordVectors(list(known), np.array(list(known.values())), "drawn")
    replies = [group[0] for group in sentences]
    # each topic's first reply beside all replies of the next topic
    references = [sentences[(i + 1) % len(sentences)][:5] for i in range(len(sentences))]
    scores = embedding_scores(replies, references, vectors)
    for i, (reply, group) in enumerate(zip(replies, references, strict=True)):
        singles = [plain_scores(reply, reference, known) for reference in group]
        expected = [max(column) for column in zip(*singles, strict=True)]
        actual = [scores.average[i], scores.extrema[i], scores.greedy[i]]
        assert actual == pytest.approx(expected, abs=1e-6)


def test_by_hand():
    vectors = WordVectors(["a", "b", "c"], np.array([[2.0, 0.0], [0.0, 3.0], [-4.0, 0.0]]), "hand")
    replies = [["a"], ["a", "b"], ["a"], [], ["zz"], ["a"], ["c", "b"]]
    references = [[["a"]], [["a"]], [["c"]], [["a"]], [["a"]], [["zz"], []], [["a", "b"]]]
    scores = embedding_scores(replies, references, vectors)
    half = math.sqrt(0.5)
    nan = math.nan
    assert scores.average == pytest.approx([1, half, -1, 0, 0, nan, 0], nan_ok=True)
    # extremes of (a, b) and (c, b): (1, 1) and (-1, 1)
    assert scores.extrema == pytest.approx([1, half, -1, 0, 0, nan, 0], nan_ok=True)
    # (a, b) to a: (1 + 0) / 2 and 1; a to c: negative matches count as none
    assert scores.greedy == pytest.approx([1, 0.75, 0, 0, 0, nan, 0.5], nan_ok=True)
    assert (scores.num_scored, scores.num_empty, scores.signature) == (6, 2, "hand")


def test_a_row_of_zeros_is_a_word_without_a_vector():
    vectors = WordVectors(["a", "b"], np.array([[1.0, 0.0], [0.0, 0.0]]), "x")
    assert len(vectors) == 1 and "a" in vectors and "b" not in vectors


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"matrix must be \(2, E\), got \(1, 3\)"):
        WordVectors(["a", "b"], np.zeros((1, 3)), "x")
    with pytest.raises(ValueError, match="matrix must hold finite numbers"):
        WordVectors(["a"], np.array([[np.nan]]), "x")
    with pytest.raises(ValueError, match="references must be as many as the 1 replies, got 0"):
        embedding_scores([["a"]], [], WordVectors(["a"], np.ones((1, 2)), "x"))


def test_vectors_from_a_file_say_which_they_are(tmp_path):
    path = tmp_path / "small.vec"
    path.write_text("2 3\nda 1 0 0\nki 0 2 0\n")
    vectors = read_vectors(path, ["ki", "never", "da"])
    assert len(vectors) == 2 and vectors.of(["never", "ki"]).tolist() == [[0.0, 1.0, 0.0]]
    assert vectors.signature.startswith("small.vec|width:3|2 of 3 words|")
    other = tmp_path / "other.vec"
    other.write_text("2 3\nda 1 0 0\nki 0 3 0\n")
    assert read_vectors(other, ["ki", "da"]).signature[-16:] != vectors.signature[-16:]
    with pytest.raises(Dvs2sError, match="has a vector for none of the 1 words"):
        read_vectors(path, ["nothing"])
    with pytest.raises(DataError, match="cannot read the vectors"):
        read_vectors(tmp_path / "missing", ["da"])


def test_trained_vectors_are_the_same_again_and_know_neighbours(tmp_path):
    pytest.importorskip("gensim")
    chance = random.Random(0)
    groups = [["mu", "ma", "mo"], ["ki", "ka", "ko"]]
    said = [[chance.choice(group) for _ in range(6)] for group in groups * 150]
    for name in ("one.vec", "new/two.vec"):
        train_vectors([*said, ["once"]], tmp_path / name, width=8)
    stopped = train_vectors(said, tmp_path / "never.vec", width=8, stop=lambda: True)
    assert not stopped and not (tmp_path / "never.vec").exists()
    assert (tmp_path / "one.vec").read_bytes() == (tmp_path / "new/two.vec").read_bytes()
    vectors = read_vectors(tmp_path / "one.vec", ["mu", "ma", "ki", "ka", "once"])
    assert "once" not in vectors
    mu, ma, ki = (vectors.of([w])[0] for w in ("mu", "ma", "ki"))
    assert mu @ ma > mu @ ki
    with pytest.raises(Dvs2sError, match="no word occurs 2 times"):
        train_vectors([["once"]], tmp_path / "no.vec")
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        train_vectors(said, tmp_path / "no.vec", epochs=0)
    assert not (tmp_path / "no.vec").exists()
