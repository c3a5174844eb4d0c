"""The words that a request lets in or keeps out."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dvs2s.responder import Responder
from dvs2s.text.specials import SPECIALS


def word_table(responder: Responder, texts: Sequence[str]) -> Tensor | None:
    """Returns (V,) bool, True on every word of the texts that is known; None for no texts."""
    if not texts:
        return None
    chosen = torch.zeros(len(responder.vocabulary), dtype=torch.bool, device=responder.device)
    for text in texts:
        ids = responder.encode_message(text)
        chosen[[i for i in ids if i >= len(SPECIALS)]] = True
    return chosen
