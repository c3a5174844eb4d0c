"""What an objective returns."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class LossTerms:
    """A scalar to minimise and its named parts for logging.

    Args:
        total: scalar, float32, differentiable: nats per target token.
        num_tokens: target tokens of the batch, end-of-sentence included; weighs ``total``
            when several batches are averaged.
        parts: detached scalars by name; a part is averaged over updates for the log.
    """

    total: Tensor
    num_tokens: int
    parts: dict[str, Tensor] = field(default_factory=dict)
