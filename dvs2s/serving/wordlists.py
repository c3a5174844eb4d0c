"""The words that a request lets in or keeps out."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dvs2s.responder import Responder


def word_table(responder: Responder, texts: Sequence[str]) -> Tensor | None:
    """Returns (V,) bool, True on every word of the texts that is known; None for no texts."""
    if not texts:
        return None
    chosen = torch.zeros(len(responder.vocabulary), dtype=torch.bool, device=responder.device)
    chosen[responder.word_ids(texts)] = True
    return chosen
