"""How near a reply's words are to a reference's in a space of word vectors.

Vectors are scaled to length 1 first, so that every measure is a cosine. Words without a vector are
left out. A reply without any word that has a vector scores 0; a reply whose references all lack
such a word is not scored at all. With several references the nearest one counts, for each of the
three measures by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class WordVectors:
    """Vectors of length 1 by word.

    Args:
        words: different words.
        matrix: (len(words), E) float; a row of zeros is a word without a vector.
        signature: which vectors these are; quote it beside the numbers.

    Raises:
        ValueError: rows and words differ in number, or a number is not finite.
    """

    def __init__(self, words: Sequence[str], matrix: NDArray[np.floating], signature: str) -> None:
        if matrix.ndim != 2 or len(words) != len(matrix):
            raise ValueError(
                f"matrix must be ({len(words)}, E), got {matrix.shape}: pass a row for each word"
            )
        if not np.isfinite(matrix).all():
            raise ValueError("matrix must hold finite numbers, got NaN or infinity: mend the file")
        lengths = np.linalg.norm(matrix.astype(np.float64), axis=1)  # (N,)
        known = lengths > 0
        self._matrix: Floats = matrix[known].astype(np.float64) / lengths[known, None]
        self._rows: Mapping[str, int] = {
            word: row for row, word in enumerate(w for w, k in zip(words, known, strict=True) if k)
        }
        self.signature = signature

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, word: object) -> bool:
        return word in self._rows

    def of(self, tokens: Sequence[str]) -> Floats:
        """Returns the vectors of the tokens that have one, in order, (n, E) float64."""
        rows = [self._rows[token] for token in tokens if token in self._rows]
        return self._matrix[rows]


@dataclass(frozen=True)
class EmbeddingScores:
    """One number a reply and measure, -1 to 1; NaN where the reply was not scored.

    Args:
        average: (N,) float64, cosine of the sums of the words' vectors.
        extrema: (N,) float64, cosine of the vectors of extremes.
        greedy: (N,) float64, each word's best match, both ways, 0 to 1.
        num_empty: replies without a word that has a vector.
        signature: of the vectors.
    """

    average: Floats
    extrema: Floats
    greedy: Floats
    num_empty: int
    signature: str

    @property
    def num_scored(self) -> int:
        """Replies with a reference that has a word with a vector."""
        return int((~np.isnan(self.average)).sum())


def embedding_scores(
    replies: Sequence[Sequence[str]],
    references: Sequence[Sequence[Sequence[str]]],
    vectors: WordVectors,
) -> EmbeddingScores:
    """Scores each reply against the nearest of its references.

    Args:
        replies: one list of tokens for each message.
        references: for each reply one or more lists of tokens.
        vectors: of the words.

    Raises:
        ValueError: the numbers of replies and references differ.

    Source: Liu et al. 2016, section 3.2; out-of-vocabulary rules as in their published code.
    """
    if len(replies) != len(references):
        raise ValueError(
            f"references must be as many as the {len(replies)} replies, got {len(references)}: "
            "pass a list of references for each reply"
        )
    scores = np.full((3, len(replies)), np.nan)
    num_empty = 0
    for place, (reply, group) in enumerate(zip(replies, references, strict=True)):
        said = vectors.of(reply)
        num_empty += not len(said)
        wanted = [known for reference in group if len(known := vectors.of(reference))]
        if wanted:
            scores[:, place] = np.max([_compare(said, known) for known in wanted], axis=0)
    return EmbeddingScores(scores[0], scores[1], scores[2], num_empty, vectors.signature)


def _compare(reply: Floats, reference: Floats) -> tuple[float, float, float]:
    """Returns average, extrema and greedy of one pair of (n, E) and (m, E), m at least 1."""
    if not len(reply):
        return 0.0, 0.0, 0.0
    average = _cosine(reply.sum(0), reference.sum(0))
    extrema = _cosine(_extremes(reply), _extremes(reference))
    # no word is worse than no match: the published code starts its maximum at 0
    matches = np.maximum(reply @ reference.T, 0.0)  # (n, m)
    return average, extrema, float(matches.max(1).mean() + matches.max(0).mean()) / 2


def _extremes(vectors: Floats) -> Floats:
    """Returns for each dimension the value furthest from 0, the positive one of two equal ones."""
    high, low = vectors.max(0), vectors.min(0)
    extremes: Floats = np.where(np.abs(low) > high, low, high)
    return extremes


def _cosine(one: Floats, other: Floats) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0
