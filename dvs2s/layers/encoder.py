"""Bidirectional GRU over padded messages."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dvs2s.layers.topics import TopicWords


@dataclass(frozen=True)
class Encoded:
    """A batch of encoded messages.

    Args:
        states: (B, S, 2·H) float, forward and backward states side by side, 0 at padding.
        embedded: (B, S, E) float, the words' embeddings, 0 at padding.
        mask: (B, S) bool, True on words.
        final: (B, 2·H) float, the last forward and the first backward state.
        messages: (B, S) int64, the words that were encoded, 0 at padding.
        offset: (B, H) float, what a latent variable adds to the decoder's first state; None for a
            model without one.
        topics: the messages' topic words; None for a model without topics.
    """

    states: Tensor
    embedded: Tensor
    mask: Tensor
    final: Tensor
    messages: Tensor
    offset: Tensor | None = None
    topics: TopicWords | None = None


class Encoder(nn.Module):
    """Reads a message in both directions.

    Args:
        embedding_size: E.
        hidden_size: H, the width of one direction.
        dropout: share of embedding and state elements set to 0 in training, 0 <= dropout < 1.

    Source: paper, encoder: bidirectional GRU over word embeddings.
    """

    def __init__(self, embedding_size: int, hidden_size: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.rnn = nn.GRU(embedding_size, hidden_size, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, embedded: Tensor, messages: Tensor, lengths: Tensor) -> Encoded:
        """Encodes a batch.

        Args:
            embedded: (B, S, E) float, the words' embeddings.
            messages: (B, S) int64, the words.
            lengths: (B,) int64 in 1..S, in any order.

        Raises:
            ValueError: a message without a word.
        """
        if bool((lengths < 1).any()):
            raise ValueError("lengths has a 0: a message needs at least one word (use <unk>)")
        mask = torch.arange(embedded.shape[1], device=lengths.device)[None] < lengths[:, None]
        embedded = self.dropout(embedded) * mask[..., None]
        packed = pack_padded_sequence(
            embedded, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        outputs, last = self.rnn(packed)
        states, _ = pad_packed_sequence(outputs, batch_first=True, total_length=embedded.shape[1])
        final = torch.cat([last[0], last[1]], dim=-1)  # (B, 2H)
        return Encoded(self.dropout(states), embedded, mask, self.dropout(final), messages)
