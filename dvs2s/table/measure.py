"""From replies to the table's numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dvs2s.evaluation.bleu import bleu
from dvs2s.evaluation.characters import as_characters, is_mostly_han
from dvs2s.evaluation.embeddings import WordVectors, embedding_scores
from dvs2s.evaluation.entropy import unigram_entropy
from dvs2s.evaluation.measures import (
    CorpusBleu,
    Distinct,
    Generic,
    Measure,
    Ratio,
    Replies,
    Unique,
    mean_of,
)
from dvs2s.evaluation.resampling import Estimate, estimates


@dataclass(frozen=True)
class Yardstick:
    """What all rows are measured with.

    Args:
        references: for each message its responses, as words.
        vectors: of words.
        counts: of words in the training responses.
        training_responses: to tell copies by.
    """

    references: Sequence[Replies]
    vectors: WordVectors
    counts: Mapping[str, int]
    training_responses: frozenset[tuple[str, ...]]

    def notes(self, replies: Replies) -> dict[str, str]:
        """Returns what belongs to the numbers: recipes and signatures."""
        scored = embedding_scores(replies, self.references, self.vectors)
        several = sum(len(group) > 1 for group in self.references)
        scores = f"{scored.num_scored} of {len(replies)} replies scored"
        cut = "cut into words as the corpus is prepared"
        characters = {
            "BLEU (characters)": "the same recipe; every Han character a token, so that no word "
            "cutter has a say"
        }
        return {
            "BLEU": f"{bleu(replies, self.references).signature}; {cut}",
            **(characters if is_mostly_han([r for g in self.references for r in g]) else {}),
            "embeddings": f"{self.vectors.signature}; {scores}; nearest reference; unit vectors",
            "messages": f"{len(self.references)} different ones, {several} with several references",
            "distinct-n": "different n-grams by generated tokens (Li et al. 2016)",
            "generic share": "share of replies among the 20 most frequent replies of the same row",
        }

    def measures(self, replies: Replies) -> dict[str, Measure]:
        """Returns every metric that can be resampled, in the order of the table."""
        ones = np.ones(len(replies))
        scores = embedding_scores(replies, self.references, self.vectors)
        entropy = unigram_entropy(replies, self.counts)
        lengths = np.array([len(reply) for reply in replies], dtype=np.float64)
        copied = [float(tuple(reply) in self.training_responses) for reply in replies]
        found: dict[str, Measure] = {
            f"BLEU-{n}": CorpusBleu(replies, self.references, order=n) for n in (1, 2, 3, 4)
        }
        if is_mostly_han([r for group in self.references for r in group]):
            said = [as_characters(reply) for reply in replies]
            wanted = [[as_characters(r) for r in group] for group in self.references]
            found |= {
                f"BLEU-{n} (characters)": CorpusBleu(said, wanted, order=n) for n in (1, 2, 3, 4)
            }
        found["Average"] = mean_of(scores.average)
        found["Extrema"] = mean_of(scores.extrema)
        found["Greedy"] = mean_of(scores.greedy)
        found |= {f"distinct-{n}": Distinct(replies, n=n) for n in (1, 2, 3)}
        found["unique replies"] = Unique(replies)
        found["generic share"] = Generic(replies)
        found["copied share"] = Ratio(np.array(copied), ones)
        found["entropy a word"] = Ratio(entropy.bits, entropy.words)
        found["entropy a reply"] = Ratio(entropy.bits, ones)
        found["length"] = Ratio(lengths, ones)
        return found


def measure_rows(
    rows: Mapping[str, Sequence[Replies]],
    yardstick: Yardstick,
    *,
    baseline: str,
    num_resamples: int,
    advance: Callable[[int], object] = lambda metrics: None,
) -> dict[str, dict[str, Estimate]]:
    """Returns every row's estimate of every metric: metric, then row.

    Args:
        rows: for each row the replies of each seed, to the same messages.
        yardstick: what to measure with.
        baseline: the row that the others are compared with; empty for none.
        num_resamples: at least 2.
        advance: told when a metric is done.

    Raises:
        ValueError: a row has another number of replies than there are messages.
    """
    wanted = len(yardstick.references)
    wrong = [name for name, seeds in rows.items() for some in seeds if len(some) != wanted]
    if wrong:
        raise ValueError(f"rows must have {wanted} replies a seed, not so {wrong[0]!r}")
    measures = {name: [yardstick.measures(some) for some in seeds] for name, seeds in rows.items()}
    found = {}
    for metric in next(iter(measures.values()))[0]:
        systems = {name: [seed[metric] for seed in seeds] for name, seeds in measures.items()}
        found[metric] = estimates(
            systems,
            wanted,
            baseline=baseline,
            num_resamples=num_resamples,
            bounds=_bounds(metric),
        )
        advance(1)
    return found


def _bounds(metric: str) -> tuple[float, float]:
    """Returns the least and the greatest value that a metric of ``measures`` can have."""
    if metric.startswith("BLEU"):
        return 0.0, 100.0
    if metric in ("Average", "Extrema"):
        return -1.0, 1.0
    if metric.startswith("entropy") or metric == "length":
        return 0.0, np.inf
    return 0.0, 1.0
