"""The word prediction network: one logit of β for every content word."""

import torch
from torch import Tensor, nn

from dvs2s.layers.encoder import Encoded
from dvs2s.text.specials import SEP


class WordPredictor(nn.Module):
    """β_i(X) = σ(w_i · g(X) + b_i + c_i · [i ∈ X]).

    ``g`` reads two bags of words, of the last turn and of the whole message, through embeddings of
    its own. It does not read the encoder's states: trained together with a decoder they move with
    the decoder's needs, and T then misses more gold words (docs/log.md). ``c_i`` lets a word of
    the message come back in the response, which an embedding alone has to learn word by word.

    Args:
        vocabulary_size: V.
        num_fixed: special and function words; they are always in T and get no logit.
        bag_size: width of a bag of words.
        hidden_size: D, width of g.
        dropout: on the bags and on g, 0 <= dropout < 1.

    Source: paper, word prediction network, there a regression on the encoder's vector.
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_fixed: int,
        *,
        bag_size: int,
        hidden_size: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_fixed = num_fixed
        num_content = vocabulary_size - num_fixed
        self.bags = nn.Embedding(vocabulary_size, 2 * bag_size)
        self.hidden = nn.Linear(2 * bag_size, hidden_size)
        self.output = nn.Linear(hidden_size, num_content)
        self.repetition = nn.Parameter(torch.ones(num_content))
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.bags.weight, std=0.05)
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
        return self.logits(encoded.messages, encoded.mask)

    def logits(self, messages: Tensor, mask: Tensor) -> Tensor:
        """Returns the logits of β of messages that need not be encoded, (B, C) float.

        Args:
            messages: (B, S) int64, padded.
            mask: (B, S) bool, True on words.
        """
        embedded = self.bags(messages)  # (B, S, 2·bag)
        whole, last = embedded.chunk(2, dim=-1)
        bags = [_bag(whole, mask), _bag(last, mask & _in_last_turn(messages))]
        inputs = self.dropout(torch.cat(bags, dim=-1))
        logits: Tensor = self.output(self.dropout(torch.tanh(self.hidden(inputs))))
        return logits + self.repetition * self._mentioned(messages, logits)

    def _mentioned(self, messages: Tensor, logits: Tensor) -> Tensor:
        """Returns (B, C) float, 1 where a content word is in the message."""
        seen = logits.new_zeros(logits.shape[0], self.num_fixed + logits.shape[1])
        return seen.scatter_(1, messages, 1.0)[:, self.num_fixed :]


def _bag(embedded: Tensor, mask: Tensor) -> Tensor:
    """Returns the sums of the masked words (B, E), divided by the root of their number."""
    counts = mask.sum(1, keepdim=True).clamp_min(1)  # (B, 1)
    return (embedded * mask[..., None]).sum(1) / counts.sqrt()


def _in_last_turn(messages: Tensor) -> Tensor:
    """Returns (B, S) bool, True behind the last <sep>, and everywhere when there is none."""
    borders = (messages == SEP).flip(1).cumsum(1).flip(1)  # <sep>s at or behind each place
    return borders == 0
