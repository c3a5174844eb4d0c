"""The output layer: decoder states and a dynamic vocabulary to log-probabilities over its slots."""

from torch import Tensor, nn

from dvs2s import ops
from dvs2s.dynamic_vocab import DynamicVocab


class Output(nn.Module):
    """One row of weights and a bias for every word of the full vocabulary.

    Args:
        hidden_size: H.
        vocabulary_size: V.
    """

    def __init__(self, hidden_size: int, vocabulary_size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(hidden_size, vocabulary_size)

    def forward(self, hidden: Tensor, vocab: DynamicVocab) -> Tensor:
        """Returns log-probabilities over the slots of each input's vocabulary.

        Args:
            hidden: (B, R, H) float, R states an input.
            vocab: of the same B inputs.

        Returns:
            (B, R, K) float32, ``-inf`` past an input's length.

        Source: paper, decoder over T.
        """
        return ops.sparse_log_softmax(
            hidden, self.projection.weight, self.projection.bias, vocab.ids, vocab.lengths
        )

    def losses(self, hidden: Tensor, membership: Tensor, targets: Tensor) -> Tensor:
        """Returns ``-log p(target)`` under M vocabularies an example: (B, M, R), nats.

        Args:
            hidden: (B, R, H) float.
            membership: (B, M, V) bool, True where a word is in the vocabulary.
            targets: (B, R) int64 words.
        """
        return ops.monte_carlo_cross_entropy(
            hidden, self.projection.weight, self.projection.bias, membership, targets
        )
