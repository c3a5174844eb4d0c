"""What a row of the vocabulary costs: a fixed price, or a budget on E|T| with its own price."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dvs2s.objectives.observer import Observer

PriceForm = Literal["logistic", "linear"]


class RowPrice(Observer):
    """A price μ on every word that the response does not hold.

    The bound alone has no taste for a small T (docs/model.md): smallness is asked for here.
    ``linear`` charges μ · E|T|; a blind predictor then settles at β = min(1, p / μ), and its
    gradient vanishes at both ends. ``logistic`` charges μ · Σ -log(1 - β), which agrees with it
    for small β and settles at β = p / (p + μ): it learns faster (docs/log.md).

    Args:
        form: ``logistic`` or ``linear``.
        price: μ >= 0, nats; with a budget, where μ starts.
        budget: E|T| to settle at, function words counted; 0 switches it off.
        rate: log μ moves by rate · (E|T| - budget) / budget a batch.

    Raises:
        ValueError: an unknown form or a negative argument.

    Source: docs/model.md, "two knobs"; the budget is dual ascent on log μ.
    """

    def __init__(
        self,
        *,
        form: PriceForm = "logistic",
        price: float = 0.0,
        budget: float = 0.0,
        rate: float = 0.05,
    ) -> None:
        super().__init__()
        if form not in ("logistic", "linear"):
            raise ValueError(f"form must be logistic or linear, got {form!r}")
        for name, value in (("price", price), ("budget", budget), ("rate", rate)):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        self.form, self.budget, self.rate = form, budget, rate
        start = max(price, 1e-7) if budget else price
        self.register_buffer("log_price", torch.tensor(math.log(start) if start else -math.inf))

    @property
    def price(self) -> Tensor:
        """μ, a float32 scalar."""
        return self.get_buffer("log_price").exp()

    def forward(self, logits: Tensor, gold: Tensor) -> Tensor:
        """Returns the cost (B,) in nats of the words that the responses do not hold.

        Args:
            logits: (B, C) float, of β.
            gold: (B, C) bool, content words of the response.
        """
        charged = F.softplus(logits) if self.form == "logistic" else logits.sigmoid()
        return self.price * (charged * ~gold).sum(1)

    def observe(self, expected_size: Tensor, rows: int = 1) -> None:
        """Moves the price towards the budget, in training only.

        Args:
            expected_size: scalar, mean E|T| of the batch, function words counted.
            rows: pairs of the batch, its weight beside others of the same update.
        """
        if self.training and self.budget:
            self.hear(expected_size, rows)

    def move(self, mean: Tensor) -> None:
        """Moves log μ by the share in which the mean E|T| of an update exceeds the budget."""
        log_price = self.get_buffer("log_price")
        excess = ((mean - self.budget) / self.budget).to(log_price)
        log_price.add_(self.rate * excess.clamp(-1, 1)).clamp_(-16, 4)
