"""Reranking of finished replies by mutual information with the message: the formulas.

    bidirectional   log p(T|S) + λ log p(S|T) + γ |T|
    anti-LM         log p(T|S) - λ log U(T)   + γ |T|,   U(T) = Π p(t_k | t_<k) over the first words

Only the first words are charged for being likely in general, because they decide what a reply
becomes, and the later ones must stay grammatical.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["anti_lm", "bidirectional"]

ANTI_LM_WORDS = 5
"""First words of a reply that the language model is asked about."""


@dataclass(frozen=True)
class Candidate:
    """A reply and what is known of it.

    Args:
        log_prob: log p(T|S), nats.
        partner: log p(S|T) or log U(T), nats.
        length: |T|, words, end of sentence included.
    """

    log_prob: float
    partner: float
    length: int


@dataclass(frozen=True)
class Weights:
    """What the reranking goes by.

    Args:
        kind: of the partner.
        partner: λ, at least 0.
        length: γ, nats a word.
    """

    kind: Kind
    partner: float
    length: float

    def __post_init__(self) -> None:
        if self.kind not in ("anti_lm", "bidirectional"):
            raise ValueError(f"kind must be anti_lm or bidirectional, got {self.kind!r}")
        if not self.partner >= 0:
            raise ValueError(f"partner must be at least 0, got {self.partner}: pass λ as it is")

    def score(self, candidate: Candidate) -> float:
        """Returns what a candidate is ranked by, nats.

        Source: Li et al. 2016, section 4.4 and 4.5.
        """
        sign = 1 if self.kind == "bidirectional" else -1
        other = sign * self.partner * candidate.partner
        return candidate.log_prob + other + self.length * candidate.length


def ranking(candidates: Sequence[Candidate], weights: Weights) -> list[int]:
    """Returns the candidates' places, best first; of equal ones the earlier."""
    return sorted(range(len(candidates)), key=lambda i: (-weights.score(candidates[i]), i))
