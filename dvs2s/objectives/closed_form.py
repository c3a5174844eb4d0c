"""The bound without sampling (B2): words weigh what β says in the decoder's normaliser.

    log p(Y|X)  >=  Σ_{w ∈ Y∩C} log β_w  +  Σ_l [ s_l(y_l) - log Σ_i β̃_i exp s_l(i) ]

β̃ is β, and 1 on the words of F and of Y.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def log_weights(logits: Tensor, gold: Tensor) -> Tensor:
    """Returns log β̃, (B, 1, V) float, differentiable in the logits of the words outside of Y.

    Args:
        logits: (B, C) float, of β; word ``num_fixed + i`` at place i.
        gold: (B, V) bool, words of the response.

    Source: (B2), docs/model.md.
    """
    content = F.logsigmoid(logits).masked_fill(gold[:, -logits.shape[1] :], 0)
    return F.pad(content, (gold.shape[1] - logits.shape[1], 0))[:, None]


def widened(logits: Tensor, rate: float) -> Tensor:
    """Returns the logits of β + (1 - β) · rate: every content word may also come in by chance.

    The decoder then meets words that β leaves out, and stays calibrated on them; the bounds stay
    bounds, for more competitors cannot make a response likelier.

    Args:
        logits: (B, C) float, of β.
        rate: 0 <= rate < 1.

    Raises:
        ValueError: a rate out of range.

    Source: docs/dropped-words.md; logit(σ(a) + (1 - σ(a)) ε) = log(e^a + ε) - log(1 - ε).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be at least 0 and below 1, got {rate}")
    if rate == 0:
        return logits
    floor = logits.new_tensor(math.log(rate))
    return torch.logaddexp(logits, floor) - math.log1p(-rate)
