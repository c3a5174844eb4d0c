"""Additive attention whose message side is computed once per input."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Memory:
    """What a decoder attends to, ready for every step.

    The decoder uses the attended context only through a linear map, so the map is applied to the
    S states once (``values``) in place of to the context at every step: Σ_j α_j (W h_j) =
    W Σ_j α_j h_j.

    Args:
        keys: (B, S, A) float.
        values: (B, S, G) float, the states after the decoder's context map.
        mask: (B, S) bool, True where a word is.
        topics: the same of topic words, for a decoder that attends to them; None for others.
    """

    keys: Tensor
    values: Tensor
    mask: Tensor
    topics: "Memory | None" = None

    def index(self, rows: Tensor) -> "Memory":
        """Returns the memory of the inputs ``rows`` (B',) int64."""
        topics = None if self.topics is None else self.topics.index(rows)
        return Memory(self.keys[rows], self.values[rows], self.mask[rows], topics)


class AdditiveAttention(nn.Module):
    """Weights α_j ∝ exp(vᵀ tanh(W_s s + W_h h_j)) over the words of a message.

    Args:
        state_size: H, width of the decoder's state.
        source_size: width of what is attended to.
        attention_size: A.

    Source: paper, decoder; Bahdanau et al. 2015, A.1.2.
    """

    def __init__(self, state_size: int, source_size: int, attention_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(state_size, attention_size, bias=False)
        self.key = nn.Linear(source_size, attention_size)
        self.energy = nn.Linear(attention_size, 1, bias=False)

    def forward(self, state: Tensor, memory: Memory) -> Tensor:
        """Returns the attended values.

        Args:
            state: (B, W, H) float, W decoder states an input.
            memory: of the same B inputs.

        Returns:
            (B, W, G) float.
        """
        query = self.query(state)  # (B, W, A)
        energies = self.energy(torch.tanh(query[:, :, None] + memory.keys[:, None]))[..., 0]
        energies = energies.masked_fill(~memory.mask[:, None], float("-inf"))  # (B, W, S)
        return torch.bmm(energies.softmax(-1), memory.values)
