"""The parts that make a decoder aware of topic words: it attends to them, and says them sooner."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dvs2s.layers.attention import AdditiveAttention, Memory
from dvs2s.layers.topics import TopicWords


class TopicAttention(nn.Module):
    """Weights α_j ∝ exp(vᵀ tanh(W_s s + W_k k_j + W_h h)) over the vectors k_j of topic words.

    h is the encoder's final state: it weakens topic words that do not fit the message. Together
    with attention to the message this is joint attention.

    Args:
        state_size: H, width of the decoder's state.
        final_size: width of the encoder's final state.
        num_topics: Z, width of a topic word's vector.
        output_size: G, width of what the decoder is given.

    Source: Xing et al. 2017, equations 4 and 5.
    """

    def __init__(
        self, state_size: int, *, final_size: int, num_topics: int, output_size: int
    ) -> None:
        super().__init__()
        self.attention = AdditiveAttention(state_size, num_topics + final_size, state_size)
        self.values = nn.Linear(num_topics, output_size, bias=False)

    def memory(self, topics: TopicWords, final: Tensor) -> Memory:
        """Returns the topic words' side of attention, once per input.

        Args:
            topics: N words of each of B messages.
            final: (B, final_size) float, of the encoder.
        """
        vectors, mask = topics.vectors, torch.ones_like(topics.words, dtype=torch.bool)
        beside = final[:, None].expand(-1, vectors.shape[1], -1)
        key = self.attention.key(torch.cat([vectors, beside], dim=-1))  # (B, N, H)
        return Memory(key, self.values(vectors), mask)

    def forward(self, state: Tensor, memory: Memory) -> Tensor:
        """Returns the attended topic words (B, W, G) for states (B, W, H)."""
        attended: Tensor = self.attention(state, memory)
        return attended


class TopicOutput(nn.Module):
    """A second score for topic words, which gives them probability of its own.

    p(w) = (exp ψ_V(w) + [w is a topic word] exp ψ_K(w)) / Z. Both scores are linear in the
    decoder's state, as in the other models here; the state has read word and both contexts, which
    the paper hands ψ_K again.

    Args:
        hidden_size: H.
        vocabulary_size: V.

    Source: Xing et al. 2017, equations 6 to 8.
    """

    def __init__(self, hidden_size: int, vocabulary_size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(hidden_size, vocabulary_size)

    def rows(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Returns weights (B, N, H) and biases (B, N) of words (B, N) int64."""
        return F.embedding(words, self.projection.weight), self.projection.bias[words]


def with_topic_words(logits: Tensor, scores: Tensor, places: Tensor, keep: Tensor) -> Tensor:
    """Returns logits whose softmax is p_V + p_K.

    Args:
        logits: (B, R, K) float, ψ_V of every slot; finite at the places of topic words.
        scores: (B, R, N) float, ψ_K.
        places: (B, N) int64, the slots of topic words, different within a row where kept.
        keep: (B, N) bool, False where a topic word has no slot; its place is any one.

    Returns:
        (B, R, K) float: log(exp ψ_V + exp ψ_K) at topic words, ψ_V elsewhere.
    """
    index = places[:, None].expand(-1, logits.shape[1], -1)
    # added rather than written, so that a place that is not kept changes nothing
    gain = F.softplus(scores - logits.gather(2, index))
    return logits.scatter_add(2, index, torch.where(keep[:, None], gain, 0.0))
