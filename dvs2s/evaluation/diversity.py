"""How varied replies are: distinct n-grams, unique and generic replies.

All of these depend on the number of replies (distinct-n falls with it): compare sets of equal size.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Replies = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Diversity:
    """What can be said about a set of replies without looking at the messages.

    Args:
        distinct_per_token: for n = 1, 2, 3 the different n-grams per generated token.
        distinct_per_ngram: the same per generated n-gram.
        unique_replies: share of replies that differ from all earlier ones, 0 to 1.
        generic_share: share of replies that are one of the 20 most frequent ones, 0 to 1.
        mean_length: tokens per reply.
    """

    distinct_per_token: tuple[float, float, float]
    distinct_per_ngram: tuple[float, float, float]
    unique_replies: float
    generic_share: float
    mean_length: float

    def as_metrics(self) -> dict[str, float]:
        """The numbers by the names that reports give them."""
        metrics = {}
        for n, value in enumerate(self.distinct_per_token, start=1):
            metrics[f"distinct-{n} (per token)"] = value
        for n, value in enumerate(self.distinct_per_ngram, start=1):
            metrics[f"distinct-{n} (per n-gram)"] = value
        metrics["unique replies"] = self.unique_replies
        metrics["generic share"] = self.generic_share
        metrics["mean length"] = self.mean_length
        return metrics


def diversity(replies: Replies) -> Diversity:
    """All the measures of this module; every one is 0 for no replies."""
    return Diversity(
        distinct_per_token=(
            distinct_per_token(replies, 1),
            distinct_per_token(replies, 2),
            distinct_per_token(replies, 3),
        ),
        distinct_per_ngram=(
            distinct_per_ngram(replies, 1),
            distinct_per_ngram(replies, 2),
            distinct_per_ngram(replies, 3),
        ),
        unique_replies=unique_replies(replies),
        generic_share=generic_share(replies),
        mean_length=mean_length(replies),
    )


def distinct_per_token(replies: Replies, n: int) -> float:
    """The number of different n-grams divided by the number of all tokens; 0 without tokens.

    Source: Li et al. 2016, section 5.2 ("scaled by total number of generated tokens").
    """
    ngrams = _count_ngrams(replies, n)
    return _share(len(ngrams), sum(map(len, replies)))


def distinct_per_ngram(replies: Replies, n: int) -> float:
    """The number of different n-grams divided by the number of all n-grams; 0 without n-grams."""
    ngrams = _count_ngrams(replies, n)
    return _share(len(ngrams), ngrams.total())


def unique_replies(replies: Replies) -> float:
    """The number of different replies divided by the number of replies; 0 for none."""
    return _share(len(set(map(tuple, replies))), len(replies))


def generic_share(replies: Replies, *, most_frequent: int = 20) -> float:
    """The share of replies among the most frequent ones of the same set; 0 for none.

    It is 1 for a set with no more than `most_frequent` different replies.

    Raises:
        ValueError: `most_frequent` is less than 1.
    """
    if most_frequent < 1:
        raise ValueError(f"most_frequent must be at least 1, got {most_frequent}: pass 1 or more")
    counts = Counter(map(tuple, replies))
    return _share(sum(count for _, count in counts.most_common(most_frequent)), len(replies))


def mean_length(replies: Replies) -> float:
    """Tokens per reply; 0 for no replies."""
    return _share(sum(map(len, replies)), len(replies))


def _count_ngrams(replies: Replies, n: int) -> Counter[tuple[str, ...]]:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}: pass 1 for single words, 2 for pairs")
    ngrams: Counter[tuple[str, ...]] = Counter()
    for reply in replies:
        if isinstance(reply, str):
            raise ValueError(
                f"replies must be lists of tokens, got the string {reply!r}: split it first"
            )
        ngrams.update(zip(*(reply[start:] for start in range(n)), strict=False))
    return ngrams


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
