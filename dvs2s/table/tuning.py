"""The weights of reranking, chosen on validation messages."""

from collections.abc import Sequence

import numpy as np

from dvs2s.answer import Answer
from dvs2s.decoding.mmi import Candidate, Kind, Weights, ranking
from dvs2s.evaluation.measures import CorpusBleu

PARTNER_GRID = (0.1, 0.25, 0.5, 1.0)
LENGTH_GRID = (0.0, 0.25, 0.5, 1.0)


def tune(
    kind: Kind,
    answers: Sequence[Answer],
    candidates: Sequence[Sequence[Candidate]],
    references: Sequence[Sequence[Sequence[str]]],
) -> Weights:
    """Returns the weights of the grid whose first replies have the highest BLEU-2.

    Args:
        kind: of the partner.
        answers: to validation messages.
        candidates: what is known of each answer's replies.
        references: of each message.

    Raises:
        ValueError: no answers.

    Source: Li et al. 2016, section 4.5: weights by BLEU on a development set, there by MERT.
    """
    if not answers:
        raise ValueError("answers must not be empty, got none: validation messages are needed")
    grid = [Weights(kind, p, n) for p in PARTNER_GRID for n in LENGTH_GRID]
    scores = [_bleu(answers, candidates, references, weights) for weights in grid]
    return grid[int(np.argmax(scores))]


def _bleu(
    answers: Sequence[Answer],
    candidates: Sequence[Sequence[Candidate]],
    references: Sequence[Sequence[Sequence[str]]],
    weights: Weights,
) -> float:
    chosen = [
        answer.replies[ranking(some, weights)[0]].tokens
        for answer, some in zip(answers, candidates, strict=True)
    ]
    return float(CorpusBleu(chosen, references, order=2).values(np.ones((1, len(chosen))))[0])
