"""Corpus BLEU of replies that are split into tokens already."""

from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics.bleu import BLEU, BLEUScore


@dataclass(frozen=True)
class BleuScores:
    """BLEU of a set of replies, from 0 to 100, and the recipe that it was computed by.

    Args:
        bleu1: with n-grams up to 1; bleu2 to bleu4 accordingly.
        brevity: the factor that all four hold for replies shorter than the references, 0 to 1.
        signature: sacrebleu's own; quote it beside the numbers.
    """

    bleu1: float
    bleu2: float
    bleu3: float
    bleu4: float
    brevity: float
    signature: str

    def as_metrics(self) -> dict[str, float]:
        """The numbers by the names that reports give them."""
        return {
            "BLEU-1": self.bleu1,
            "BLEU-2": self.bleu2,
            "BLEU-3": self.bleu3,
            "BLEU-4": self.bleu4,
            "brevity": self.brevity,
        }


def bleu(
    replies: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> BleuScores:
    """Corpus BLEU-1 to BLEU-4 of the replies as they are, case and tokens untouched.

    An empty reply counts as one without n-grams. No replies at all score 0 with a
    brevity of 0. An order without any match is smoothed (`smooth:exp`), unless no word matches at
    all, which scores 0.

    Args:
        replies: one list of tokens for each message.
        references: for each reply one or more lists of tokens; numbers may differ.

    Returns:
        The scores, from one pass over the replies.

    Raises:
        ValueError: the numbers of replies and references differ, a reply has no reference, or a
            token is empty or holds white space.

    Source: Papineni et al. 2002; Post 2018 (sacrebleu).
    """
    if len(replies) != len(references):
        raise ValueError(
            f"references must be as many as the {len(replies)} replies, got {len(references)}: "
            "pass a list of references for each reply"
        )
    metric = BLEU(tokenize="none", force=True)
    if not replies:
        metric.num_refs = 1  # for the signature, which is made after a pass otherwise
        return BleuScores(0.0, 0.0, 0.0, 0.0, 0.0, str(metric.get_signature()))
    score = metric.corpus_score(
        [_join(reply) for reply in replies],
        _streams(references),  # type: ignore[arg-type]  # None: a reference that is missing
    )
    bleu1, bleu2, bleu3, bleu4 = (_score_up_to(order, score) for order in (1, 2, 3, 4))
    return BleuScores(bleu1, bleu2, bleu3, bleu4, score.bp, str(metric.get_signature()))


def _score_up_to(order: int, score: BLEUScore) -> float:
    """BLEU with n-grams up to `order` from the counts of a pass with more of them."""
    shorter = BLEU.compute_bleu(
        score.counts[:order],
        score.totals[:order],
        score.sys_len,
        score.ref_len,
        smooth_method="exp",
        max_ngram_order=order,
    )
    return float(shorter.score)


def _streams(references: Sequence[Sequence[Sequence[str]]]) -> list[list[str | None]]:
    """The references as sacrebleu wants them: the first of each reply, the second of each, …"""
    for number, group in enumerate(references):
        if not group:
            raise ValueError(
                f"references must not be empty, got none for reply {number}: "
                "pass at least one reference for each reply"
            )
    num_streams = max(len(group) for group in references)
    return [
        [_join(group[number]) if number < len(group) else None for group in references]
        for number in range(num_streams)
    ]


def _join(tokens: Sequence[str]) -> str:
    if isinstance(tokens, str):
        raise ValueError(
            f"replies and references must be lists of tokens, got the string {tokens!r}: "
            "split it first"
        )
    joined = " ".join(tokens)
    if len(joined.split()) != len(tokens):
        raise ValueError(
            f"tokens must be neither empty nor hold white space, got {list(tokens)!r}: "
            "split the text at white space"
        )
    return joined
