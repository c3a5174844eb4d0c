"""What a learned baseline expects of a pair: a small network on what the model knows of it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RewardPredictor(nn.Module):
    """Guesses log p(Y | T, X) of a pair before T is drawn, from detached features.

    No T makes a response likelier than the smallest one, F ∪ {y_l}; how much a sampled T takes
    from that is learned, word by word, from the decoder's state and the message.

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
        nn.init.constant_(self.output.bias, -2.0)  # near the smallest vocabulary's reward

    def forward(self, final: Tensor, hidden: Tensor, ceilings: Tensor, mask: Tensor) -> Tensor:
        """Returns the guesses (B,), nats; differentiable in this network only.

        Args:
            final: (B, 2·H) float, the encoder's last states.
            hidden: (B, T, H) float, the decoder's states under teacher forcing: they know the
                response, which a baseline may, but not T.
            ceilings: (B, T) float, of ``reward_ceilings``.
            mask: (B, T) bool, True on words of the response.
        """
        mixed = self.of_message(final.detach())[:, None] + self.of_state(hidden.detach())
        taken = F.softplus(self.output(torch.tanh(mixed))[..., 0])  # (B, T)
        guess: Tensor = ((ceilings.detach() - taken) * mask).sum(1)
        return guess


@torch.no_grad()
def reward_ceilings(
    hidden: Tensor, weight: Tensor, bias: Tensor, words: Tensor, *, num_fixed: int
) -> Tensor:
    """Returns log p(y_l) under the smallest vocabulary, F and the word itself, (B, T) nats.

    Args:
        hidden: (B, T, H) float.
        weight: (V, H); the rows of F stand first.
        bias: (V,).
        words: (B, T) int64.
        num_fixed: words of F, at least 1.
    """
    own = (hidden * weight[words]).sum(-1) + bias[words]
    fixed = (hidden @ weight[:num_fixed].T + bias[:num_fixed]).logsumexp(-1)
    return own - torch.where(words < num_fixed, fixed, torch.logaddexp(fixed, own))


def squared_error(guess: Tensor, rewards: Tensor, lengths: Tensor) -> Tensor:
    """Returns a scalar to minimise: Σ over pairs of length · (error a word)².

    Args:
        guess: (B,) float, nats.
        rewards: (B, M) float, what was drawn; no gradient goes there.
        lengths: (B,) int64, words of the responses.
    """
    error = (guess - rewards.detach().mean(1)) / lengths
    return (lengths * error.square()).sum()
