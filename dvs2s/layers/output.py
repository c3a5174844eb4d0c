"""The output layer: a row of weights and a bias for every word of the full vocabulary."""

import torch
from torch import Tensor, nn

from dvs2s import ops


class Output(nn.Module):
    """Scores words; decoding gathers its rows once a message (``decoding/session.py``).

    Args:
        hidden_size: H.
        vocabulary_size: V.
        chunk: words that ``losses`` works on at a time; 0 for all at once, faster and larger.
    """

    def __init__(self, hidden_size: int, vocabulary_size: int, *, chunk: int = 0) -> None:
        super().__init__()
        self.chunk = chunk
        self.projection = nn.Linear(hidden_size, vocabulary_size)

    def losses(self, hidden: Tensor, membership: Tensor, targets: Tensor) -> Tensor:
        """Returns ``-log p(target)`` under M vocabularies an example: (B, M, R), nats.

        Args:
            hidden: (B, R, H) float.
            membership: (B, M, V) bool, True where a word is in the vocabulary.
            targets: (B, R) int64 words.
        """
        hidden, weight, bias = _autocast(hidden, self.projection.weight, self.projection.bias)
        with torch.autocast(hidden.device.type, enabled=False):  # partition sums stay float32
            return ops.monte_carlo_cross_entropy(
                hidden, weight, bias, membership, targets, chunk=self.chunk
            )

    def weighted_losses(self, hidden: Tensor, log_weights: Tensor, targets: Tensor) -> Tensor:
        """Returns ``log Σ_i w_i exp s(i) - s(target)``: (B, M, R), nats.

        Args:
            hidden, targets: as given to ``losses``.
            log_weights: (B, M, V) float, log w, at most 0, ``-inf`` for a word that is out.
        """
        hidden, weight, bias = _autocast(hidden, self.projection.weight, self.projection.bias)
        with torch.autocast(hidden.device.type, enabled=False):
            return ops.weighted_cross_entropy(
                hidden, weight, bias, log_weights, targets, chunk=self.chunk
            )

    def sample_gains(
        self, hidden: Tensor, membership: Tensor, targets: Tensor, mask: Tensor, losses: Tensor
    ) -> Tensor:
        """Returns (B, M, V), nats: what each word's place in each of M vocabularies is worth.

        Args:
            hidden, membership, targets: as given to ``losses``.
            mask: (B, R) bool, True on words of the response.
            losses: (B, M, R) nats, as ``losses`` returned them.
        """
        weight, bias = self.projection.weight, self.projection.bias
        # differences of shares near one: never in bfloat16
        with torch.autocast(hidden.device.type, enabled=False):
            return ops.sample_gains(
                hidden.to(weight.dtype), weight, bias, membership, targets, mask, losses
            )


def _autocast(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the tensors in the type that autocast computes in; as they are outside of it.

    Autocast knows torch's own operators only.
    """
    if not torch.is_autocast_enabled(hidden.device.type):
        return hidden, weight, bias
    dtype = torch.get_autocast_dtype(hidden.device.type)
    return hidden.to(dtype), weight.to(dtype), bias.to(dtype)
