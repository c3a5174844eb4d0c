"""Where β starts: at the word's share of responses, balanced against what pushes it down."""

import torch
from torch import Tensor

from dvs2s.objectives.row_price import PriceForm
from dvs2s.objectives.word_loss import Negatives


def prior_beta(
    shares: Tensor, negatives: Negatives, price: float, form: PriceForm = "logistic"
) -> Tensor:
    """Returns the β of each content word at which the word loss of a blind predictor is flat.

    With p the word's share of responses, n its weight as a negative and μ the price of its row:
    p (1 - β) = n (1 - p) β + μ (1 - p) β (1 - β), without the last factor for a logistic price.

    Args:
        shares: (C,) float in (0, 1), of the training responses that hold the word; also the rate
            at which it is drawn as a negative.
        negatives: the negative half.
        price: μ >= 0.
        form: of the price.

    Returns:
        (C,) float64 in (0, 0.99]: no word starts where its gradient has vanished.

    Source: docs/model.md, "two knobs"; the smaller root of the quadratic in β.
    """
    p = shares.double()
    match negatives.kind:
        case "none":
            pressure = torch.zeros_like(p)
        case "full":
            pressure = torch.full_like(p, negatives.weight)
        case "sampled":
            rates = p**negatives.exponent
            pressure = negatives.weight * negatives.number * rates / rates.sum()
    if form == "logistic":
        pressure, price = pressure + price, 0.0
    total = p + (pressure + price) * (1 - p)
    root = (total.square() - 4 * price * p * (1 - p)).clamp_min(0).sqrt()
    return (2 * p / (total + root)).clamp(1e-8, 0.99)


def price_for_budget(
    shares: Tensor, negatives: Negatives, budget: float, form: PriceForm = "logistic"
) -> float:
    """Returns the μ at which the blind predictor's vocabularies hold ``budget`` content words.

    Args:
        shares: (C,) float in (0, 1).
        negatives: the negative half.
        budget: content words, above 0.
        form: of the price.

    Returns:
        μ in 1e-7..1, by bisection on its logarithm: the smallest when even that leaves fewer
        words than the budget (strong negatives), the largest when even that leaves more.
    """
    low, high = -7.0, 0.0
    for _ in range(60):
        middle = (low + high) / 2
        if float(prior_beta(shares, negatives, 10**middle, form).sum()) > budget:
            low = middle
        else:
            high = middle
    return float(10**high)
