"""What a learned baseline expects of a pair: a small network on what the model knows of it."""

import torch
from torch import Tensor, nn


class RewardPredictor(nn.Module):
    """Guesses log p(Y | T, X) of a pair before T is drawn, from detached features.

    Args:
        hidden_size: H, of the model.
        width: of its own hidden layer.

    Source: Mnih and Gregor 2014, input-dependent baselines.
    """

    def __init__(self, hidden_size: int, *, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3 * hidden_size, width), nn.Tanh(), nn.Linear(width, 1)
        )

    def forward(self, final: Tensor, hidden: Tensor, mask: Tensor) -> Tensor:
        """Returns the guesses (B,), nats; differentiable in this network only.

        Args:
            final: (B, 2·H) float, the encoder's last states.
            hidden: (B, T, H) float, the decoder's states under teacher forcing: they know the
                response, which a baseline may, but not T.
            mask: (B, T) bool, True on words of the response.
        """
        lengths = mask.sum(1)
        mean = (hidden.detach() * mask[..., None]).sum(1) / lengths.clamp_min(1)[:, None]
        a_word: Tensor = self.layers(torch.cat([final.detach(), mean], dim=1))[:, 0]
        return a_word * lengths


def squared_error(guess: Tensor, rewards: Tensor, lengths: Tensor) -> Tensor:
    """Returns a scalar to minimise: Σ over pairs of length · (error a word)².

    Args:
        guess: (B,) float, nats.
        rewards: (B, M) float, what was drawn; no gradient goes there.
        lengths: (B,) int64, words of the responses.
    """
    error = (guess - rewards.detach().mean(1)) / lengths
    return (lengths * error.square()).sum()
