"""Records what other people's implementations say of the same replies, as data for the tests.

Run by hand, in an environment of its own; the tests read the files and need none of these:

    pip install nltk==3.10.4 statsmodels==0.15.0 scipy==1.17.1 sacrebleu==2.6.0 gensim==4.4.0
    python tests/evaluation/oracles/record.py

The texts are the project's own (data/smalltalk) or drawn at random. Nothing here imports dvs2s.
"""

import json
import platform
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import gensim
import nltk
import numpy as np
import pandas
import sacrebleu
import scipy.stats
from gensim.models import KeyedVectors
from nltk.lm import MLE
from nltk.translate.bleu_score import corpus_bleu, sentence_bleu
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

HERE = Path(__file__).resolve().parent
TOPICS = HERE.parents[2] / "data" / "smalltalk" / "topics"
# Written for this file, cut by hand; some Latin letters and figures among them.
CHINESE = (
    "我 今天 早上 喝 了 一 杯 咖啡 。",
    "今天 早上 我 也 喝 了 两 杯 咖啡 ！",
    "你 喜欢 喝 茶 还是 喝 咖啡 ？",
    "我 更 喜欢 喝 茶 ， 特别 是 绿茶 。",
    "周末 我们 一起 去 看 电影 吧 。",
    "好 的 ， 周末 一起 去 看 电影 ， 几点 ？",
    "我 的 手机 是 5G 的 ， wifi 不太 好 。",
    "你 的 手机 不太 好 ， 换 一 个 新 的 吧 。",
)
LIBRARIES = ("nltk", "statsmodels", "scipy", "sacrebleu", "gensim", "numpy", "pandas")
Words = list[str]


def tokens(text: str) -> Words:
    """Splits as a person would: words, marks and the parts around an apostrophe."""
    return nltk.tokenize.wordpunct_tokenize(text.lower())


def smalltalk() -> tuple[list[Words], list[list[Words]]]:
    """Replies that look real: each topic's own, its neighbour's, stock phrases, and worse."""
    chance = random.Random(0)
    replies, references = [], []
    stock = ["i do not know .", "that sounds good .", "yes , i think so .", "what do you mean ?"]
    groups = [
        [tokens(text) for text in json.loads(path.read_text(encoding="utf-8"))["replies"]]
        for path in sorted(TOPICS.glob("*.json"))[::2]
    ]
    for place, group in enumerate(groups):
        other = groups[(place + 1) % len(groups)]
        mixed = [chance.choice(group[:3])[:5] + chance.choice(other)[-4:]]
        said = [group[4], chance.choice(other), chance.choice(stock).split(), *mixed]
        for reply in said[: 1 + place % 4]:
            replies.append(list(reply))
            references.append([group[0], group[1 + place % 3]])
    replies[3], replies[10], replies[17] = [], ["<unk>", "zzyzx"], ["yes"]
    replies[24] = ["no"] * 9
    replies[31] = ["<unk>", *replies[31][1:]]
    return replies, references


def drawn() -> tuple[list[Words], list[list[Words]]]:
    """Replies at random over thirty words of uneven frequency, some empty."""
    chance = random.Random(1)
    words = [f"w{i}" for i in range(30)]
    weights = [1 / (1 + i) for i in range(30)]

    def sentence(low: int) -> Words:
        return chance.choices(words, weights, k=chance.randint(low, 9))

    references = [[sentence(1), sentence(1)] for _ in range(120)]
    replies = [sentence(0) for _ in range(120)]
    for place in range(0, 120, 7):  # a piece of a reference, so that all orders have matches
        replies[place] = references[place][0][:6] + replies[place][:3]
    return replies, references


def nltk_bleu(replies: list[Words], references: list[list[Words]]) -> dict[str, Any]:
    """BLEU without smoothing; replies of four words and more, on which the recipes agree."""
    long = [i for i, reply in enumerate(replies) if len(reply) >= 4]
    weights = [tuple([1 / n] * n) for n in (1, 2, 3, 4)]
    corpus = corpus_bleu([references[i] for i in long], [replies[i] for i in long], weights)
    single = [
        {"place": i, "bleu": [100 * sentence_bleu(references[i], replies[i], w) for w in weights]}
        for i in long
        if _orders(replies[i], references[i]) == 4
    ]
    return {"places": long, "corpus": [100 * score for score in corpus], "sentences": single}


def _orders(reply: Words, references: list[Words]) -> int:
    """How many orders have a match: nltk gives no score to one without."""
    for n in range(1, 5):
        said = set(nltk.ngrams(reply, n))
        if not said & {gram for reference in references for gram in nltk.ngrams(reference, n)}:
            return n - 1
    return 4


def sacrebleu_command(
    replies: list[Words], references: list[list[Words]], cut: str = "none"
) -> dict[str, Any]:
    """BLEU-4 of all replies by the command line, empty ones included; each order by the library."""
    with tempfile.TemporaryDirectory() as folder:
        files = {"hyp": [" ".join(reply) for reply in replies]}
        for k in (0, 1):
            files[f"ref{k}"] = [" ".join(group[k]) for group in references]
        for name, lines in files.items():
            Path(folder, name).write_text("".join(f"{x}\n" for x in lines), encoding="utf-8")
        command = [sys.executable, "-m", "sacrebleu", "ref0", "ref1", "-i", "hyp"]
        command += ["-tok", cut, "--force", "-w", "10"]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout)
    orders = [
        sacrebleu.BLEU(tokenize=cut, force=True, max_ngram_order=n)
        .corpus_score(files["hyp"], [files["ref0"], files["ref1"]])
        .score
        for n in (1, 2, 3, 4)
    ]
    return {"command": found["score"], "orders": orders, "signature": found["signature"]}


def sacrebleu_paired(
    one: list[Words], other: list[Words], references: list[list[Words]]
) -> dict[str, Any]:
    """The command line's paired bootstrap of two systems: BLEU-4 of each, and the p-value."""
    with tempfile.TemporaryDirectory() as folder:
        lines = {"base": one, "other": other}
        lines |= {f"ref{k}": [group[k] for group in references] for k in (0, 1)}
        for name, some in lines.items():
            text = "".join(" ".join(words) + "\n" for words in some)
            Path(folder, name).write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "sacrebleu", "ref0", "ref1", "-i", "base", "other"]
        command += ["-tok", "none", "--force", "-w", "10", "--paired-bs", "--paired-bs-n", "4000"]
        command += ["-f", "json"]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    systems = json.loads(ran.stdout)
    return {
        "resamples": 4000,
        "scores": [system["BLEU"]["score"] for system in systems],
        "p_value": systems[1]["BLEU"]["p_value"],
    }


def vectors_of(words: Iterable[str]) -> dict[str, list[float]]:
    """Vectors of eight numbers, of different lengths and not around 0, for most of the words."""
    generator = np.random.default_rng(2)
    found = {}
    for word in sorted(set(words)):
        vector = generator.normal(0.3, 1, 8) * generator.uniform(0.5, 3)
        if generator.random() < 0.9 and word not in ("<unk>", "zzyzx"):
            found[word] = [round(float(number), 4) for number in vector]
    return found


def embeddings(
    replies: list[Words], references: list[list[Words]], vectors: dict[str, list[float]]
) -> list[dict[str, Any]]:
    """The published formulas (Liu et al. 2016) against the first reference, one pair at a time.

    Average is gensim's n_similarity too, which is an implementation of its own.
    """
    units = {word: np.array(v) / np.linalg.norm(v) for word, v in vectors.items()}
    keyed = KeyedVectors(8)
    keyed.add_vectors(list(units), np.array(list(units.values())))
    found = []
    for place, (reply, group) in enumerate(zip(replies, references, strict=True)):
        said, wanted = [[w for w in side if w in units] for side in (reply, group[0])]
        if not wanted:
            scores = [None, None, None]
        elif not said:
            scores = [0.0, 0.0, 0.0]
        else:
            x, y = np.array([units[w] for w in said]), np.array([units[w] for w in wanted])
            average = cosine(x.sum(0), y.sum(0))
            theirs = float(keyed.n_similarity(said, wanted))
            assert abs(average - theirs) < 1e-5, (average, theirs)  # gensim reckons in float32
            scores = [average, cosine(extrema(x), extrema(y)), (greedy(x, y) + greedy(y, x)) / 2]
        found.append({"place": place, "scores": scores})
    return found


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    length = np.sqrt(np.sum(one**2)) * np.sqrt(np.sum(other**2))
    return float(np.sum(one * other) / length) if length else 0.0


def extrema(matrix: np.ndarray) -> np.ndarray:
    """Per dimension the greatest value, unless the least is further from 0."""
    chosen = []
    for column in matrix.T:
        greatest, least = max(column), min(column)
        chosen.append(greatest if abs(least) <= greatest else least)
    return np.array(chosen)


def greedy(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over words of the best match, where no match is 0."""
    return float(np.mean([max(0.0, *(float(np.dot(a, b)) for b in other)) for a in one]))


def variety(replies: list[Words], training: list[Words]) -> dict[str, Any]:
    """Counts by nltk and pandas: distinct n-grams, frequent replies, entropy under training."""
    grams = {n: nltk.FreqDist(g for r in replies for g in nltk.ngrams(r, n)) for n in (1, 2, 3)}
    spoken = sum(map(len, replies))
    table = pandas.Series([" ".join(reply) for reply in replies]).value_counts()
    model = MLE(1)
    model.fit([[(word,) for reply in training for word in reply]], [w for r in training for w in r])
    bits = [[-model.logscore(w) for w in reply if model.counts[w] > 0] for reply in replies]
    flat = [value for some in bits for value in some]
    return {
        "distinct_per_ngram": [grams[n].B() / grams[n].N() for n in (1, 2, 3)],
        "distinct_per_token": [grams[n].B() / spoken for n in (1, 2, 3)],
        "unique": len(table) / len(replies),
        "generic": int(table.head(20).sum()) / len(replies),
        "entropy_word": sum(flat) / len(flat),
        "entropy_reply": sum(flat) / len(replies),
    }


def agreement() -> list[dict[str, Any]]:
    """Fleiss' kappa of tables of labels 0, 1, 2."""
    found = []
    for seed, raters in ((0, 3), (1, 2), (2, 5), (3, 3)):
        generator = np.random.default_rng(seed)
        right = generator.integers(3, size=(40, 1))
        slips = generator.random((40, raters)) < 0.2 + 0.2 * seed
        labels = np.where(slips, generator.integers(3, size=(40, raters)), right)
        counts, _ = aggregate_raters(labels, 3)
        kappa = fleiss_kappa(counts, method="fleiss")
        found.append({"counts": counts.tolist(), "kappa": float(kappa)})
    return found


def bootstrap() -> dict[str, Any]:
    """Percentile intervals by scipy, from the draws of the stream default_rng([0, 0])."""
    generator = np.random.default_rng(5)
    scores = generator.normal(0.4, 0.3, 60).round(6)
    better = (scores + generator.normal(0.02, 0.1, 60)).round(6)
    words = generator.integers(1, 9, 60).astype(float)
    bits = (words * generator.normal(6, 1, 60)).round(6)

    def record(data: Sequence[np.ndarray], statistic: Any) -> dict[str, Any]:
        ran = scipy.stats.bootstrap(
            tuple(data),
            statistic,
            n_resamples=500,
            paired=True,
            vectorized=True,
            method="percentile",
            rng=np.random.default_rng([0, 0]),
        )
        interval = ran.confidence_interval
        draws = ran.bootstrap_distribution
        value = float(statistic(*data, axis=0))
        beyond = int((np.abs(draws - draws.mean()) >= abs(value)).sum())
        return {
            "low": float(interval.low),
            "high": float(interval.high),
            "mean": float(draws.mean()),
            "p_value": (beyond + 1) / (len(draws) + 1),
        }

    def mean(x: np.ndarray, axis: int) -> np.ndarray:
        return x.mean(axis)

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return x.mean(axis) - y.mean(axis)

    def ratio(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return x.sum(axis) / y.sum(axis)

    return {
        "resamples": 500,
        "scores": scores.tolist(),
        "better": better.tolist(),
        "bits": bits.tolist(),
        "words": words.tolist(),
        "mean": record([scores], mean),
        "difference": record([better, scores], difference),
        "t_test": float(scipy.stats.ttest_rel(better, scores).pvalue),
        "ratio": record([bits, words], ratio),
    }


def save(name: str, made_by: str, content: dict[str, Any]) -> None:
    """Writes a file with its provenance."""
    versions = {library: metadata.version(library) for library in LIBRARIES}
    provenance = {"made_by": made_by, "python": platform.python_version(), "versions": versions}
    text = json.dumps({"provenance": provenance, **content}, ensure_ascii=False)
    (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Writes all files."""
    assert gensim.__version__ == metadata.version("gensim")
    sets = {"smalltalk": smalltalk(), "drawn": drawn()}
    for name, (replies, references) in sets.items():
        vectors = vectors_of(w for side in (replies, *references) for r in side for w in r)
        training = [group[1] for group in references]
        shifted = replies[1:] + replies[:1]
        save(
            name,
            "nltk (BLEU, n-grams, entropy), the sacrebleu command (BLEU, paired bootstrap), "
            "numpy after the formulas of Liu et al. 2016 with gensim's n_similarity (embeddings), "
            "pandas (frequent replies)",
            {
                "replies": replies,
                "references": references,
                "training": training,
                "vectors": vectors,
                "nltk": nltk_bleu(replies, references),
                "sacrebleu": sacrebleu_command(replies, references),
                "paired": sacrebleu_paired(shifted, replies, references),
                "embeddings": embeddings(replies, references, vectors),
                "variety": variety(replies, training),
            },
        )
    said = [text.split() for text in CHINESE]
    wanted = [[said[(i + 1) % len(said)], said[i - 1]] for i in range(len(said))]
    save(
        "chinese",
        "the sacrebleu command with its tokeniser zh",
        {"replies": said, "references": wanted, "sacrebleu": sacrebleu_command(said, wanted, "zh")},
    )
    save("kappa", "statsmodels.stats.inter_rater.fleiss_kappa", {"tables": agreement()})
    save("bootstrap", "scipy.stats.bootstrap, paired, percentile", bootstrap())


if __name__ == "__main__":
    main()
