"""What T must be for each gold word of a pair to be in it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Needs:
    """The needs of the gold words of n pairs: content words of the response, each once a pair.

    Words that the vocabulary does not know are not counted: no T holds them.

    Args:
        pair: (G,) int64, the pair of each gold word.
        beta: (G,) float64, -β of the word; minus infinity where the message itself brings it in.
        size: (G,) float64, the smallest |T| that holds it.
        pairs: n.
    """

    pair: NDArray[np.int64]
    beta: Floats
    size: Floats
    pairs: int

    @property
    def weights(self) -> Floats:
        """(G,) one over the number of gold words in each word's pair."""
        counts = np.bincount(self.pair, minlength=self.pairs)
        return np.asarray(1.0 / counts[self.pair], dtype=np.float64)

    def hardest(self, rule: str) -> Floats:
        """Returns (n,) the greatest need of each pair, minus infinity without gold words.

        Args:
            rule: "threshold" or "size".
        """
        greatest = np.full(self.pairs, -np.inf)
        np.maximum.at(greatest, self.pair, self.of(rule))
        return greatest

    def of(self, rule: str) -> Floats:
        """Returns the needs of a way to choose T, "threshold" or "size"."""
        return self.beta if rule == "threshold" else self.size

    def chosen(self, pairs: NDArray[np.int64]) -> "Needs":
        """Returns the needs of some of the pairs, numbered anew in their order."""
        place = np.full(self.pairs, -1, dtype=np.int64)
        place[pairs] = np.arange(len(pairs))
        new = place[self.pair]
        kept = new >= 0
        return Needs(new[kept], self.beta[kept], self.size[kept], len(pairs))


def joined(parts: list[Needs]) -> Needs:
    """Returns the needs of batches as those of one corpus, in the order of the batches."""
    starts = np.cumsum([0, *(part.pairs for part in parts)])
    return Needs(
        np.concatenate([part.pair + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.beta for part in parts]),
        np.concatenate([part.size for part in parts]),
        int(starts[-1]),
    )


def batch_needs(
    log_odds: Tensor, messages: Tensor, responses: Tensor, *, num_fixed: int, message_words: bool
) -> Needs:
    """Returns the needs of a batch.

    Args:
        log_odds: (B, C) float, logits of β.
        messages: (B, S) int64, padded with 0.
        responses: (B, T) int64, padded with a special word.
        num_fixed: special and function words, always in T.
        message_words: whether the message's own words are always in T.
    """
    batch, content = log_odds.shape
    gold = torch.zeros(batch, num_fixed + content, dtype=torch.bool, device=log_odds.device)
    gold.scatter_(1, responses, True)
    included = torch.zeros_like(gold)
    if message_words:
        included.scatter_(1, messages, True)
    included = included[:, num_fixed:]
    rows, words = gold[:, num_fixed:].nonzero(as_tuple=True)  # (G,)
    free = included[rows, words]
    # the same comparison as the threshold's, so that rounding is the same
    beta = -log_odds.sigmoid()[rows, words].double()
    rivals = log_odds.masked_fill(included, -torch.inf)[rows]  # (G, C)
    ahead = (rivals >= log_odds[rows, words][:, None]).sum(1)  # of equal ones all, to be safe
    size = num_fixed + included.sum(1)[rows] + ahead
    return Needs(
        rows.cpu().numpy(),
        beta.masked_fill(free, -torch.inf).cpu().numpy(),
        size.masked_fill(free, num_fixed).double().cpu().numpy(),
        batch,
    )
