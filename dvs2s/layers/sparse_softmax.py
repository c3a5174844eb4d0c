"""An output layer for anybody's decoder: scores only the words that each input may use."""

import torch
from torch import Tensor, nn

from dvs2s import ops
from dvs2s.dynamic_vocab import DynamicVocab

_Operands = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class SparseSoftmax(nn.Module):
    """The last layer of a decoder, over a vocabulary of each input's own.

    Takes the place of ``nn.Linear(H, V)`` followed by a softmax: the same parameters, under the
    same names, so that a trained layer's ``state_dict`` loads.

    Args:
        hidden_size: H.
        vocabulary_size: V.
        bias: whether words have a bias; without it zeros are used and never trained.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, hidden_size: int, vocabulary_size: int, *, bias: bool = True) -> None:
        super().__init__()
        for name, size in (("hidden_size", hidden_size), ("vocabulary_size", vocabulary_size)):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        linear = nn.Linear(hidden_size, vocabulary_size)
        self.weight = linear.weight
        self.bias: Tensor
        if bias:
            self.bias = linear.bias
        else:
            self.register_buffer("bias", torch.zeros(vocabulary_size), persistent=False)

    @staticmethod
    def from_linear(linear: nn.Linear) -> "SparseSoftmax":
        """Returns a layer that shares the parameters of ``linear``, tied embeddings included."""
        bias: Tensor | None = getattr(linear, "bias", None)
        layer = SparseSoftmax(1, 1, bias=bias is not None)
        layer.weight = linear.weight
        layer.bias = linear.weight.new_zeros(linear.out_features) if bias is None else bias
        return layer

    def forward(self, hidden: Tensor, vocab: DynamicVocab) -> Tensor:
        """Returns log-probabilities (B, R, K), ``-inf`` past each input's length.

        Args:
            hidden: (B, R, H) float, R rows an input.
            vocab: the words of each of the B inputs.

        Raises:
            ValueError: shapes that do not fit, or words that the layer lacks.
        """
        return ops.sparse_log_softmax(*self._operands(hidden, vocab))

    def losses(self, hidden: Tensor, vocab: DynamicVocab, words: Tensor) -> Tensor:
        """Returns ``-log p(word)`` (B, R), nats; the logits are not kept for the backward pass.

        Args:
            hidden: (B, R, H) float.
            vocab: the words of each input.
            words: (B, R) int64 words in 0..V-1; negative ones are ignored, with a loss of 0.

        Raises:
            ValueError: a word that is not in its input's vocabulary: p would be 0. (A compiler
                cannot read the words: there such a word is ignored.)
        """
        slots = vocab.slots(words)
        outside = (slots < 0) & (words >= 0)
        if not torch.compiler.is_compiling() and bool(outside.any()):
            row = int(outside.any(1).nonzero()[0, 0])
            raise ValueError(
                f"words of input {row} are not all in its vocabulary: keep the target words in, "
                f"or pass -1 for the rows to leave out"
            )
        return ops.sparse_cross_entropy(*self._operands(hidden, vocab), slots)[0]

    @torch.no_grad()
    def best(self, hidden: Tensor, vocab: DynamicVocab, k: int) -> tuple[Tensor, Tensor]:
        """Returns the k best log-probabilities (B, R, k), falling, and their words (B, R, k).

        Args:
            hidden: (B, R, H) float.
            vocab: the words of each input.
            k: 1..K.
        """
        scores, slots = ops.sparse_topk(*self._operands(hidden, vocab), k)
        return scores, vocab.words(slots)

    def _operands(self, hidden: Tensor, vocab: DynamicVocab) -> _Operands:
        """Returns what the operators take; under autocast hidden states in the weight's type.

        Autocast hands over states of its own type. Casting them costs B·R·H; casting the weight, as
        ``nn.Linear`` does there, V·H for the sake of a few rows.
        """
        if hidden.is_floating_point() and torch.is_autocast_enabled(hidden.device.type):
            hidden = hidden.to(self.weight.dtype)
        return hidden, self.weight, self.bias, vocab.ids, vocab.lengths
