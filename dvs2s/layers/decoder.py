"""GRU decoder with attention: one step, and its unrolling over a known response."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dvs2s.layers.attention import AdditiveAttention, Memory
from dvs2s.layers.encoder import Encoded
from dvs2s.layers.topic_attention import TopicAttention


class Decoder(nn.Module):
    """s_l = GRU([E y_{l-1}; c_l], s_{l-1}), with c_l attended from s_{l-1}.

    It attends to the encoder's states with the words' embeddings beside them, which lets it use a
    word long before the encoder has learnt to carry it (docs/log.md).

    The GRU's input weights are kept apart for the word and for the context, so that the word part
    is one product over a whole response in training and the context part one product an input.

    Args:
        embedding_size: E.
        hidden_size: H of the decoder and of one direction of the encoder.
        dropout: on embeddings and on the states that are read out, 0 <= dropout < 1.
        num_topics: Z; above 0 the decoder attends to topic words, too.

    Source: paper, decoder: GRU with additive attention.
    """

    def __init__(
        self, embedding_size: int, hidden_size: int, *, dropout: float = 0.0, num_topics: int = 0
    ) -> None:
        super().__init__()
        source_size = 2 * hidden_size + embedding_size
        self.attention = AdditiveAttention(hidden_size, source_size, hidden_size)
        self.start = nn.Linear(source_size, hidden_size)
        self.word_gates = nn.Linear(embedding_size, 3 * hidden_size)
        self.context_gates = nn.Linear(source_size, 3 * hidden_size, bias=False)
        self.state_gates = nn.Linear(hidden_size, 3 * hidden_size)
        self.dropout = nn.Dropout(dropout)
        self._compiled: Callable[[Tensor, Tensor, Memory], Tensor] | None = None
        _initialise(self.state_gates)
        self.topics: TopicAttention | None = None
        if num_topics:
            self.topics = TopicAttention(
                hidden_size,
                final_size=2 * hidden_size,
                num_topics=num_topics,
                output_size=3 * hidden_size,
            )

    def memory(self, encoded: Encoded) -> Memory:
        """Returns the message side of attention and context product, once per input."""
        source = torch.cat([encoded.states, encoded.embedded], dim=-1)  # (B, S, 2H + E)
        topics = None
        if self.topics is not None and encoded.topics is not None:
            topics = self.topics.memory(encoded.topics, encoded.final)
        return Memory(self.attention.key(source), self.context_gates(source), encoded.mask, topics)

    def initial_state(self, encoded: Encoded) -> Tensor:
        """Returns s_0 (B, H) float."""
        words = encoded.embedded.sum(1) / encoded.mask.sum(1, keepdim=True)  # (B, E)
        start: Tensor = self.start(torch.cat([encoded.final, words], dim=-1))
        return torch.tanh(start if encoded.offset is None else start + encoded.offset)

    def compile_unrolling(self) -> None:
        """Has ``unroll`` make its steps by ``torch.compile``; equal up to rounding.

        Sizes stay symbols from the first batch on: one that is compiled anew for some batch could
        round otherwise, and a resumed run meets other batches first.
        """
        self._compiled = torch.compile(self._advance, dynamic=True)

    def step(self, embedded: Tensor, state: Tensor, memory: Memory) -> Tensor:
        """Returns the next states.

        Args:
            embedded: (B, W, E) float, the words just generated.
            state: (B, W, H) float.
            memory: of the same B inputs.

        Returns:
            (B, W, H) float.
        """
        return self._advance(self.word_gates(self.dropout(embedded)), state, memory)

    def unroll(self, embedded: Tensor, encoded: Encoded) -> Tensor:
        """Returns the states that predict each word of a known response (teacher forcing).

        Args:
            embedded: (B, T, E) float, begin-of-sentence and all words but the last.
            encoded: the B messages.

        Returns:
            (B, T, H) float, with dropout applied for the read-out in training.
        """
        words = self.word_gates(self.dropout(embedded))  # (B, T, 3H)
        memory, state = self.memory(encoded), self.initial_state(encoded)[:, None]
        advance = self._compiled or self._advance
        states = []
        for word in words.unbind(1):  # slices would each fill a (B, T, 3H) gradient with zeros
            state = advance(word[:, None], state, memory)
            states.append(state)
        hidden: Tensor = self.dropout(torch.cat(states, dim=1))
        return hidden

    def _advance(self, words: Tensor, state: Tensor, memory: Memory) -> Tensor:
        inputs = words + self.attention(state, memory)  # (B, W, 3H)
        if self.topics is not None and memory.topics is not None:
            inputs = inputs + self.topics(state, memory.topics)
        reset_in, update_in, new_in = inputs.chunk(3, dim=-1)
        reset_s, update_s, new_s = self.state_gates(state).chunk(3, dim=-1)
        reset = torch.sigmoid(reset_in + reset_s)
        update = torch.sigmoid(update_in + update_s)
        new = torch.tanh(new_in + reset * new_s)
        return torch.lerp(new, state, update)


def _initialise(state_gates: nn.Linear) -> None:
    """Orthogonal recurrent weights keep the state's norm over long responses."""
    for gate in state_gates.weight.data.chunk(3):
        nn.init.orthogonal_(gate)
    nn.init.zeros_(state_gates.bias)
