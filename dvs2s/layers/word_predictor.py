"""The word prediction network: one logit of β for every content word."""

import torch
from torch import Tensor, nn

from dvs2s.layers.encoder import Encoded


class WordPredictor(nn.Module):
    """β_i(X) = σ(w_i · g(X) + b_i + c_i · [i ∈ X]).

    ``g`` reads the encoder's states and, beside them, a bag of the message's words; ``c_i`` lets
    a word of the message come back in the response, which an embedding alone has to learn word
    by word.

    Args:
        vocabulary_size: V.
        num_fixed: special and function words; they are always in T and get no logit.
        source_size: width of an encoder state, 2·H.
        bag_size: width of the bag of words.
        hidden_size: D, width of g.
        dropout: on the inputs of g and on g, 0 <= dropout < 1.

    Source: paper, word prediction network; bag and repetition are ours (docs/model.md).
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_fixed: int,
        *,
        source_size: int,
        bag_size: int,
        hidden_size: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_fixed = num_fixed
        num_content = vocabulary_size - num_fixed
        self.bag = nn.Embedding(vocabulary_size, bag_size)
        self.hidden = nn.Linear(2 * source_size + bag_size, hidden_size)
        self.output = nn.Linear(hidden_size, num_content)
        self.repetition = nn.Parameter(torch.ones(num_content))
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.bag.weight, std=0.05)
        nn.init.normal_(self.output.weight, std=0.02)

    @torch.no_grad()
    def set_prior(self, probabilities: Tensor) -> None:
        """Starts from the words' shares of responses, so that T begins as the static list.

        Args:
            probabilities: (C,) float in (0, 1), one a content word.

        Raises:
            ValueError: wrong length, or a value outside (0, 1).
        """
        if probabilities.shape != self.output.bias.shape:
            raise ValueError(
                f"probabilities must be ({self.output.bias.shape[0]},), "
                f"got {tuple(probabilities.shape)}"
            )
        if not bool(((probabilities > 0) & (probabilities < 1)).all()):
            raise ValueError("probabilities must lie strictly between 0 and 1: smooth the counts")
        self.output.bias.copy_(probabilities.logit())

    def forward(self, encoded: Encoded) -> Tensor:
        """Returns the logits of β.

        Args:
            encoded: B messages.

        Returns:
            (B, C) float, word ``num_fixed + i`` at place i.
        """
        words = encoded.mask[..., None]  # (B, S, 1)
        counts = words.sum(1)  # (B, 1)
        mean = encoded.states.sum(1) / counts  # states are 0 at padding
        peak = encoded.states.masked_fill(~words, -torch.inf).amax(1)
        bag = (self.bag(encoded.messages) * words).sum(1) / counts.sqrt()
        inputs = self.dropout(torch.cat([mean, peak, bag], dim=-1))
        logits: Tensor = self.output(self.dropout(torch.tanh(self.hidden(inputs))))
        return logits + self.repetition * self._mentioned(encoded.messages, logits)

    def _mentioned(self, messages: Tensor, logits: Tensor) -> Tensor:
        """Returns (B, C) float, 1 where a content word is in the message."""
        seen = logits.new_zeros(logits.shape[0], self.num_fixed + logits.shape[1])
        return seen.scatter_(1, messages, 1.0)[:, self.num_fixed :]
