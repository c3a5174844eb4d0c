"""What a learned baseline expects of a pair: a small network on what the model knows of it."""

import torch
from torch import Tensor, nn


class RewardPredictor(nn.Module):
    """Guesses log p(Y | T, X) of a pair before T is drawn, from detached features.

    The reward is Σ_l s_l(y_l) - log Z_l. The scores of the response's own words do not depend on
    T and are given; the network learns log Z_l from the decoder's state and the message.

    Args:
        hidden_size: H, of the model.
        width: of its own hidden layer.

    Source: Mnih and Gregor 2014, input-dependent baselines.
    """

    def __init__(self, hidden_size: int, *, width: int = 64) -> None:
        super().__init__()
        self.of_message = nn.Linear(2 * hidden_size, width)
        self.of_state = nn.Linear(hidden_size, width, bias=False)
        self.output = nn.Linear(width, 1)

    def forward(self, final: Tensor, hidden: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
        """Returns the guesses (B,), nats; differentiable in this network only.

        Args:
            final: (B, 2·H) float, the encoder's last states.
            hidden: (B, T, H) float, the decoder's states under teacher forcing: they know the
                response, which a baseline may, but not T.
            scores: (B, T) float, s_l(y_l).
            mask: (B, T) bool, True on words of the response.
        """
        mixed = self.of_message(final.detach())[:, None] + self.of_state(hidden.detach())
        normaliser: Tensor = self.output(torch.tanh(mixed))[..., 0]  # (B, T)
        return ((scores.detach() - normaliser) * mask).sum(1)


def squared_error(guess: Tensor, rewards: Tensor, lengths: Tensor) -> Tensor:
    """Returns a scalar to minimise: Σ over pairs of length · (error a word)².

    Args:
        guess: (B,) float, nats.
        rewards: (B, M) float, what was drawn; no gradient goes there.
        lengths: (B,) int64, words of the responses.
    """
    error = (guess - rewards.detach().mean(1)) / lengths
    return (lengths * error.square()).sum()
