"""The word predictor's log loss: gold words pull β up, negatives and prices push it down."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Negatives:
    """What pushes β down.

    Args:
        kind: ``none``; ``full``, every content word that is not in the response (β then ranks by
            p(w ∈ Y | X): coverage); ``sampled``, words drawn in proportion to frequency (β then
            ranks like pointwise mutual information: specificity).
        weight: of the negative half, at least 0.
        number: words drawn an example, for ``sampled``.
        exponent: of the frequency in the draw, for ``sampled``: 1 is the paper's, 0 uniform.
    """

    kind: Literal["none", "full", "sampled"] = "full"
    weight: float = 1.0
    number: int = 500
    exponent: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("none", "full", "sampled"):
            raise ValueError(f"negatives.kind must be none, full or sampled, got {self.kind!r}")
        if self.weight < 0:
            raise ValueError(f"negatives.weight must be at least 0, got {self.weight}")
        if self.number < 1:
            raise ValueError(f"negatives.number must be at least 1, got {self.number}")
        if self.exponent < 0:
            raise ValueError(f"negatives.exponent must be at least 0, got {self.exponent}")


class WordLoss(nn.Module):
    """Both halves of the word predictor's log loss.

    Args:
        negatives: the negative half.
        counts: (C,) int64, training responses that hold each content word.

    Source: paper, pre-training: log loss, negatives in proportion to word frequency; the positive
        half is the first term of the bound (B1), docs/model.md.
    """

    def __init__(self, negatives: Negatives, counts: Tensor) -> None:
        super().__init__()
        self.negatives = negatives
        rates = counts.double().clamp_min(0.5) ** negatives.exponent
        self.register_buffer("rates", (rates / rates.sum()).float(), persistent=False)

    def forward(self, logits: Tensor, gold: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the loss of the gold words and that of the negatives, nats an example.

        Args:
            logits: (B, C) float, of β.
            gold: (B, C) bool, content words of the response.

        Returns:
            (B,) ``-Σ_{w gold} log β_w`` and (B,) ``-weight · Σ log(1 - β_w)`` over the negatives.
        """
        positive = (F.softplus(-logits) * gold).sum(1)
        if self.negatives.kind == "none" or self.negatives.weight == 0:
            return positive, torch.zeros_like(positive)
        negative = (F.softplus(logits) * self._how_often(gold)).sum(1)
        return positive, self.negatives.weight * negative

    def _how_often(self, gold: Tensor) -> Tensor:
        """Returns (B, C) float: how often each word counts as a negative of each example."""
        if self.negatives.kind == "full":
            return (~gold).float()
        rates: Tensor = self.get_buffer("rates")
        drawn = torch.multinomial(
            rates.expand(gold.shape[0], -1), self.negatives.number, replacement=True
        )
        counts = torch.zeros(gold.shape, device=gold.device)
        return counts.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=counts.dtype)) * ~gold
